"""Differences between two runs: settings, environment, images, and their epochs side by side."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from covtool.checkpoints.places import is_folder
from covtool.differences.recipes import FieldDifference, differing
from covtool.documents import parse_json
from covtool.errors import DataError, reason_of
from covtool.regular_files import MEBIBYTE, is_regular, opened, read_text
from covtool.run_files import (
    ARGUMENTS,
    IMAGE_LIST,
    SUMMARY,
    EpochRow,
    epoch_rows,
    notes_on_run,
    read_settings,
)

ENVIRONMENT = "env.json"
"""Versions and device, in the folder of a run."""

LARGEST_ENVIRONMENT = MEBIBYTE
"""Bytes of it; a run's own have a few hundred."""

NAMES_OF_A_RUN = ("output", "experiment")
"""Settings that say where a run is, and nothing about what it does."""

LOWER_IS_BETTER = "loss"
"""The one measure of a validation of which less is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDifference:
    """An epoch of each of two runs.

    Attributes:
        which: ``best`` or ``last``.
        before: Values of the first run's epoch by name, `epoch` counted from 1; None without any.
        after: Those of the second run.
    """

    which: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDifference:
    """Differences between two runs.

    Attributes:
        before: Folder of the first run.
        after: Folder of the second one.
        settings: Settings that differ, but for the runs' own names.
        environment: Versions and devices that differ; None where a run does not say its own.
        images: Whether they were started with the same list of images; None where one has none.
        epochs: Best and last epoch of each.
        notes: Parts that could not be compared, and what makes an epoch doubtful, in sentences.
    """

    before: Path
    after: Path
    settings: tuple[FieldDifference, ...]
    environment: tuple[FieldDifference, ...] | None
    images: bool | None
    epochs: tuple[EpochDifference, ...]
    notes: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        epochs = any(one.before != one.after for one in self.epochs)
        return bool(self.settings or self.environment or epochs or self.images is False)

    @property
    def compared(self) -> tuple[str, ...]:
        """What both runs have of settings, images, environment and epochs, in words."""
        parts = {
            "settings": True,
            "images": self.images is not None,
            "environment": self.environment is not None,
            "epochs": any(None not in (one.before, one.after) for one in self.epochs),
        }
        return tuple(name for name, is_there in parts.items() if is_there)


def is_run(name: str) -> bool:
    """Return whether a path leads to the folder of a run."""
    return is_folder(Path(name)) and is_regular(Path(name) / ARGUMENTS)


def compare_runs(before: Path, after: Path) -> RunDifference:
    """Compare what two runs were asked for and what came of it.

    Raises:
        ArgumentError: A file of settings cannot be read.
        DataError: A log or a result is damaged, or versions and device cannot be read.
    """
    settings = [read_settings(run / ARGUMENTS) for run in (before, after)]
    shown = [
        {k: plain_value(v) for k, v in one.items() if k not in NAMES_OF_A_RUN} for one in settings
    ]
    notes: list[str] = []
    environments = [_environment(run, notes) for run in (before, after)]
    epochs = [_epochs(run, one, notes) for run, one in zip((before, after), settings, strict=True)]
    images = [_images(run, notes) for run in (before, after)]
    for run, found in zip((before, after), epochs, strict=True):
        notes += notes_on_run(run) if found else ()
    return RunDifference(
        before=before,
        after=after,
        settings=tuple(differing("", *shown)),
        environment=None if None in environments else tuple(differing("", *environments)),
        images=None if None in images else images[0] == images[1],
        epochs=tuple(
            EpochDifference(which=which, before=epochs[0].get(which), after=epochs[1].get(which))
            for which in ("best", "last")
        ),
        notes=tuple(notes),
    )


def _environment(run: Path, notes: list[str]) -> dict[str, Any] | None:
    path = run / ENVIRONMENT
    if not is_regular(path):
        notes.append(f"{run} has no {ENVIRONMENT}: environments are not compared.")
        return None
    try:
        values = parse_json(read_text(path, at_most=LARGEST_ENVIRONMENT))
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} cannot be read.", reason=reason_of(problem)) from problem
    if not isinstance(values, dict):
        raise DataError(f"{path} cannot be read.", reason="It does not hold names and values.")
    return values


def _images(run: Path, notes: list[str]) -> str | None:
    found = images_of(run)
    if found is None:
        notes.append(f"{run} has no {IMAGE_LIST}: images are not compared.")
    return found


def _epochs(run: Path, settings: Mapping[str, Any], notes: list[str]) -> dict[str, dict[str, Any]]:
    """Return the best and the last epoch of a run, as far as there are any."""
    metric = str(settings.get("eval_metric"))
    best, last, value = None, None, None
    try:
        for row in epoch_rows(run):
            last, found = row, _number(row.cells.get(f"eval_{metric}", ""))
            found = -found if isinstance(found, float) and metric == LOWER_IS_BETTER else found
            if isinstance(found, float) and (value is None or found > value):
                best, value = row, found
    except FileNotFoundError:
        notes.append(f"{run} has no {SUMMARY}: no epoch of it was done.")
    else:
        if last is None:
            notes.append(f"{run / SUMMARY} has no rows: no epoch of it was done.")
    rows = {"best": best, "last": last}
    return {which: _values(row) for which, row in rows.items() if row is not None}


def _values(row: EpochRow) -> dict[str, Any]:
    values = {name: _number(cell) for name, cell in row.cells.items()}
    return {**values, "epoch": row.epoch + 1}


def _number(cell: str) -> float | str:
    """Return the number in a cell; its text where it has none, or none that equals itself."""
    try:
        value = float(cell)
    except ValueError:
        return cell
    return value if isfinite(value) else cell


def plain_value(value: Any) -> Any:
    """Return a value of YAML with texts for .nan and .inf: JSON has none, and NaN is not itself."""
    if isinstance(value, dict):
        return {name: plain_value(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain_value(inner) for inner in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def images_of(run: Path) -> str | None:
    """Return a checksum of the list of images that a run was started with; None without a list.

    Raises:
        DataError: It cannot be read.
    """
    path = run / IMAGE_LIST
    if not is_regular(path):
        return None
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as problem:
        raise DataError(f"{path} cannot be read.", reason=reason_of(problem)) from problem
