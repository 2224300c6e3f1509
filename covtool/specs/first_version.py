"""Recipes of version 1, whose history was lines of prose: each line becomes a record of its step.

Only here are the phrases of old files read. Whatever a line does not say in the words of the
versions that wrote it is kept in the step's `text`, so that the history reads as it always did.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from covtool.specs.layout import LayoutSpec
from covtool.specs.problems import key_and_reason
from covtool.specs.provenance import (
    MOST_STEPS,
    ConversionStep,
    InitialWeightsStep,
    IterationsRecord,
    Line,
    OperationRecord,
    OtherStep,
    SavedStateStep,
    Step,
    TrainingStep,
    phrase,
)

VERSION = 1

_LINES = TypeAdapter(tuple[Line, ...])
_COMMANDS = ("finetune", "svdnet-rri")
_STATE = re.compile(r"finetune: (.+), the state after epoch (\d{1,9})", re.DOTALL)
_WEIGHTS = "finetune from the weights of "
_OPERATION = re.compile(
    r"(?P<sized>eigenlayer) of (?P<features>\d{1,9})"
    r"|(?P<replaced>conv) (?P<conv>\S+) in (?P<layers>\d{1,9}) layers"
    r"|(?P<pooled>head) (?P<head>\S+)"
    r"|(?P<plain>last-stride|neck|ibn|stem|patch-stride)"
)
_EPOCHS = re.compile(r"epoch (\d{1,15}) of (\d{1,15})")
_CHANGED = ("decomposition", "reorder", "assignment", "classifier")


def upgrade(value: Any) -> Any:
    """Return the values of a recipe as this version has them; a step for each line of history.

    Values that are no recipe are returned as they are, for the schema to refuse.

    Raises:
        ValueError: The history of a recipe of version 1 is not lines of text, or too many.
    """
    if not isinstance(value, Mapping) or not _is_first(value):
        return value
    provenance = value.get("provenance")
    if not isinstance(provenance, Mapping):
        return {**value, "version": VERSION + 1}
    if "steps" in provenance:
        raise ValueError("provenance.steps: Extra inputs are not permitted")
    others = {name: given for name, given in provenance.items() if name != "history"}
    steps = tuple(map(read_line, _lines(provenance.get("history", ()))))
    return {**value, "version": VERSION + 1, "provenance": {**others, "steps": steps}}


def read_line(line: str) -> Step:
    """Return the step that a line of history tells of.

    Example:
        >>> read_line("finetune: last.pt, the state after epoch 3").epochs
        3
    """
    try:
        step = _read(line)
    except ValidationError:  # a number beyond all bounds, say
        step = _training_without_settings(line)
    # Whatever was misread shows here: the line itself is kept then.
    return step if phrase(step) == line else step.model_copy(update={"text": line})


def _is_first(value: Mapping[str, Any]) -> bool:
    # Files always say their version; recipes of plain values never had to.
    version = value.get("version", VERSION)
    return type(version) is int and version == VERSION


def _lines(history: Any) -> tuple[str, ...]:
    try:
        lines = _LINES.validate_python(history)
    except ValidationError as problem:
        key, reason = key_and_reason(problem)
        place = f"provenance.history.{key}" if key else "provenance.history"
        raise ValueError(f"{place}: {reason}") from problem
    if len(lines) > MOST_STEPS:
        raise ValueError(f"provenance.history: There are {len(lines):,} lines, of {MOST_STEPS:,}")
    return lines


def _read(line: str) -> Step:
    if line.startswith("convert "):
        return _conversion(line)
    if line.startswith(_WEIGHTS):
        return InitialWeightsStep(file=line.removeprefix(_WEIGHTS))
    if state := _STATE.fullmatch(line):
        return SavedStateStep(file=state[1], epochs=int(state[2]))
    return _training(line)


def _conversion(line: str) -> ConversionStep:
    # The source is a file name, which may have ": " in it; what was done never has.
    source, _, done = line.removeprefix("convert ").rpartition(": ")
    words, layout = _without_layout(done)
    if words == "imported":
        return ConversionStep(source=source, layout=layout)
    found = [_OPERATION.fullmatch(part) for part in words.split(", ")]
    # A part that is none of ours is left to the step's `text`.
    operations = tuple(_operation(match) for match in found if match)
    return ConversionStep(source=source, operations=operations, layout=layout)


def _operation(found: re.Match[str]) -> OperationRecord:
    word = found["sized"] or found["replaced"] or found["pooled"] or found["plain"]
    return OperationRecord(
        operation=word,
        variant=found["conv"] or found["head"],
        layers=None if found["layers"] is None else int(found["layers"]),
        features=None if found["features"] is None else int(found["features"]),
    )


def _training(line: str) -> Step:
    command = next((word for word in _COMMANDS if line.startswith(f"{word} on ")), None)
    if command is None:
        return _training_without_settings(line)
    start, colon, settings = line.removeprefix(f"{command} on ").rpartition(": ")
    data, layout = _without_layout(start if colon else settings)
    fields: dict[str, Any] = {"command": command, "data": data, "layout": layout}
    # Split, not matched as a whole: the time stays linear in a line of any length.
    parts = settings.split(", ")
    if found := _EPOCHS.fullmatch(parts[0]):
        fields |= {"epochs": int(found[1]), "planned_epochs": int(found[2])}
        fields |= _settings(parts[1:])
    return TrainingStep(**fields)


def _training_without_settings(line: str) -> Step:
    command = next((word for word in _COMMANDS if line.startswith(word)), None)
    if command is None:
        return OtherStep(text=line)
    return TrainingStep(command=command, text=line)


def _settings(parts: list[str]) -> dict[str, Any]:
    """Return the settings behind the epochs: a phase, the optimizer, and words with values."""
    rate = next((n for n, part in enumerate(parts) if part.startswith("lr ")), None)
    # None, or no optimizer in front of it: not a line that covtool wrote.
    if not rate:
        return {}
    found: dict[str, Any] = {"phase": ", ".join(parts[: rate - 1]) or None, "opt": parts[rate - 1]}
    rates: tuple[str, ...] | None = None
    changed: list[tuple[str, str]] = []
    for part in parts[rate:]:
        word, _, value = part.partition(" ")
        if word == "lr":
            found["lr"] = _rate(value)
        elif word == "then":
            rates = tuple(value.split(" "))
        elif word in _CHANGED:
            changed.append((word, value))
        elif word in ("loss", "sampler"):
            found[word] = value
        elif word == "gradient":
            found["centralized"] = value.removeprefix("centralization on the ")
        elif word == "heads":
            found["head_schedule"] = value
    if rates is not None:
        found["iterations"] = IterationsRecord(
            rates=tuple(map(_rate, rates)), changed=tuple(changed)
        )
    return found


def _without_layout(text: str) -> tuple[str, LayoutSpec]:
    """Return a text without the choices of a layout behind it, and these."""
    start, bracket, flags = text.rpartition(" (--")
    if not bracket or not flags.endswith(")"):
        return text, LayoutSpec()
    given = dict(
        part.removeprefix("--").split(" ", 1) for part in flags[:-1].split(", ") if " " in part
    )
    try:
        layout = LayoutSpec(**{name.replace("-", "_"): value for name, value in given.items()})
    except ValidationError:
        return text, LayoutSpec()
    return start, layout


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0  # the line is kept as it is: this is not how it says the rate
