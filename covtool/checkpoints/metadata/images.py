"""The images of a model: as its sources say, and as its library assumes where they do not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from covtool.backbones.image_size import fixed_size
from covtool.backbones.library_input import default_input, default_name
from covtool.backbones.names import TORCHVISION_PREFIX
from covtool.backbones.published_names import known_architecture
from covtool.checkpoints.metadata.statements import Statement, Statements
from covtool.checkpoints.metadata.wording import in_words, pixels, same, sentence
from covtool.printable import printable
from covtool.specs import BaseSpec, InputSpec
from covtool.specs.problems import first_problem

RGB = 3
STATISTICS = ("mean", "std")
FLAGS = {
    "size": "--img-size",
    "crop_pct": "--crop-pct",
    "interpolation": "--interpolation",
    "mean": "--mean",
    "std": "--std",
}
"""Fields that a note speaks of, and the flags that set them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The images of a model, and what is worth knowing about them.

    Attributes:
        input: All fields.
        notes: Readings, assumptions and rejected statements, in sentences.
    """

    input: InputSpec
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """The images that are assumed where no file states others.

    Attributes:
        input: All fields.
        whose: Name of the weights that were trained on them, as a note says it.
    """

    input: InputSpec
    whose: str


@dataclass(slots=True)
class _Choice:
    """The fields that are settled, by whom, and what was left aside."""

    values: dict[str, Any] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def usual_images(base: BaseSpec) -> Usual:
    """Return the images that the library's own weights of an architecture were trained on."""
    return Usual(input=default_input(base), whose=default_name(base))


def stated_images(
    statements: Statements,
    base: BaseSpec,
    usual: Usual,
    *,
    equals: Iterable[str] = (),
    overrides: Mapping[str, Any],
) -> Images:
    """Return the images of a model that was read from a file.

    What contradicts a more trusted source is left aside with a note, as is a source that speaks of
    another architecture than the one that the tensors are of.

    Args:
        statements: Statements about the file.
        base: The architecture of its tensors.
        usual: Assumption where nothing is stated.
        equals: Names of further architectures that the tensors fit.
        overrides: Fields that the user sets.
    """
    choice = _Choice()
    names = {base.name, *equals}
    for source in statements.sources:
        choice.notes += source.problems
        if not _speaks_of(source, names):
            _disbelieve(choice, source, base)
            continue
        _take(choice, source.where, _possible(choice, source))
        library = _of_library(source, base)
        # Without a note, as the source does not hold these fields itself.
        if library is not None:
            _take(choice, *library, quietly=True)
    _keep_fixed_size(choice, base)
    _keep_fitting_statistics(choice, usual.input.channels)
    # The tensors know the channels; what a configuration says of them is left aside.
    known = {name: value for name, value in choice.values.items() if name != "channels"}
    merged = usual.input.model_dump() | known | dict(overrides)
    merged = _for_channels(choice, merged, overrides)
    notes = (*choice.notes, *_read_note(choice, merged, overrides))
    return Images(
        input=InputSpec.model_validate(merged),
        notes=tuple(dict.fromkeys((*notes, *_assumed_note(choice, merged, usual, overrides)))),
    )


def _speaks_of(source: Statement, names: set[str]) -> bool:
    """Return whether a source is about one of some architectures, or about none that is known."""
    architectures = (
        known_architecture(name) for name in (source.architecture, *source.other_names) if name
    )
    known = [_short(name) for name in architectures if name]
    # A name that is no architecture's, as a script calls its model, contradicts nothing.
    return not known or not names.isdisjoint(known)


def _short(name: str) -> str:
    return name.removeprefix(TORCHVISION_PREFIX).partition(".")[0]


def _disbelieve(choice: _Choice, source: Statement, base: BaseSpec) -> None:
    if source.input:
        choice.notes.append(
            f"Not used: {source.where}, which is about {printable(source.architecture)}; the "
            f"tensors are of {base.name}."
        )


def _possible(choice: _Choice, source: Statement) -> dict[str, Any]:
    """Return the fields of a source that images can have; a note names the others."""
    # Each field for itself, so that an impossible one does not cost the others.
    possible = {}
    for name, value in source.input.items():
        try:
            InputSpec.model_validate({name: value})
        except ValidationError as problem:
            choice.notes.append(f"Not used of {source.where}: {first_problem(problem)}.")
        else:
            possible[name] = value
    return possible


def _take(choice: _Choice, where: str, fields: Mapping[str, Any], *, quietly: bool = False) -> None:
    """Settle the fields that are still open; a note names those that contradict, unless quiet."""
    others = []
    for name, value in fields.items():
        if name not in choice.values:
            choice.values[name], choice.where[name] = value, where
        elif not quietly and name in FLAGS and not same(choice.values[name], value):
            others.append(name)
    if others:
        trusted = ", ".join(dict.fromkeys(choice.where[name] for name in others))
        choice.notes.append(
            f"{sentence(in_words({n: fields[n] for n in others}))} in {where} "
            f"{'is' if len(others) == 1 else 'are'} not used: {trusted} says "
            f"{in_words({n: choice.values[n] for n in others})}."
        )


def _of_library(source: Statement, base: BaseSpec) -> tuple[str, dict[str, Any]] | None:
    """Return what a source leaves to timm: the images of the pretrained tag that it names."""
    if base.library != "timm" or source.architecture is None or not source.is_content:
        return None
    name = known_architecture(source.architecture) or ""
    tag = name.partition(".")[2]
    if _short(name) != base.name or not (tag or source.rest_is_librarys):
        return None
    images = default_input(base, tag or None).model_dump(exclude={"channels"})
    return f"timm's own, as {source.where} says", images


def _keep_fixed_size(choice: _Choice, base: BaseSpec) -> None:
    fixed, size = fixed_size(base), choice.values.get("size")
    if fixed is None or size is None or tuple(size) == tuple(fixed):
        return
    choice.notes.append(
        f"{pixels(size)} ({choice.where['size']}) are not used: {base.name} takes "
        f"{pixels(fixed)} only."
    )
    choice.values["size"], choice.where["size"] = tuple(fixed), "the architecture"


def _keep_fitting_statistics(choice: _Choice, channels: int) -> None:
    for name in STATISTICS:
        statistic = choice.values.get(name)
        # RGB's three numbers are fitted to other channels afterwards; other counts cannot be.
        if statistic is not None and len(statistic) not in (1, RGB, channels):
            choice.notes.append(
                f"{name} of {len(statistic)} numbers ({choice.where[name]}) is not used: the "
                f"images have {channels} channels."
            )
            del choice.values[name], choice.where[name]


def _for_channels(
    choice: _Choice, merged: dict[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Fit statistics of RGB to images of other channels: RGB's own, and their average beyond."""
    channels = merged["channels"]
    fitted = {
        name: for_channels(merged[name], channels) for name in STATISTICS if name not in overrides
    }
    if any(len(merged[name]) != len(values) for name, values in fitted.items()):
        average = "the average of RGB's"
        choice.notes.append(
            f"The images have {channels} channels: mean and deviation are RGB's, beyond the third "
            f"{average}."
            if channels > RGB
            else f"The images have {channels} channel{'s' if channels > 1 else ''}: mean and "
            f"deviation are {average}."
        )
    return merged | fitted


def for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a statistic of RGB for images of other channels; one number for all stays.

    Example:
        >>> for_channels((0.5, 0.25, 0.75), 4), for_channels((0.5, 0.25, 0.75), 1)
        ((0.5, 0.25, 0.75, 0.5), (0.5,))
    """
    if len(values) in (1, channels):
        return tuple(values)
    average = sum(values) / len(values)
    if channels < RGB:
        return (average,) * channels
    return (*values, *(average,) * (channels - len(values)))


def _read_note(
    choice: _Choice, merged: Mapping[str, Any], overrides: Mapping[str, Any]
) -> list[str]:
    by_source: dict[str, dict[str, Any]] = {}
    for name in FLAGS:
        if name in choice.where and name not in overrides:
            by_source.setdefault(choice.where[name], {})[name] = merged[name]
    parts = [f"{in_words(values)} ({where})" for where, values in by_source.items()]
    return [f"Read for the images: {'; '.join(parts)}."] if parts else []


def _assumed_note(
    choice: _Choice, merged: Mapping[str, Any], usual: Usual, overrides: Mapping[str, Any]
) -> list[str]:
    open_fields = [name for name in FLAGS if name not in choice.where and name not in overrides]
    if not open_fields:
        return []
    flags = ", ".join(FLAGS[name] for name in open_fields)
    return [
        f"Assumed for the images, as no file states it: "
        f"{in_words({name: merged[name] for name in open_fields})} ({usual.whose}); "
        f"change it with {flags}."
    ]
