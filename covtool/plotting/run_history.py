"""The history of a run: its logs of updates and epochs, as columns of numbers.

Columns are whatever the files hold: a run of another command may have others.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covtool.errors import ArgumentError, DataError
from covtool.full_paths import in_full
from covtool.plotting.number_columns import Columns, NumberColumns
from covtool.printable import printable
from covtool.run_files import (
    ARGUMENTS,
    METRICS,
    SUMMARY,
    EpochRow,
    epoch_rows,
    read_settings,
    step_rows,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """The columns of a run; a value that a row lacks, or that cannot be drawn, is NaN.

    Attributes:
        path: The run's folder.
        label: Name beside other runs.
        updates: Number of each update, counted from 1.
        steps: Numbers in metrics.jsonl, a value for each of `updates`.
        steps_in_epochs: Epochs done at each of `updates`, with parts of one.
        updates_per_epoch: Updates of an epoch; None where the epochs differ in it.
        epoch_ends: The last update of each epoch.
        epochs: Numbers in summary.csv, a value for each of `epoch_ends`.
        epochs_done: Epochs done at each of `epoch_ends`; 0 for the model as it came.
        best_epoch: The best epoch of those in summary.csv, counted from 1; None where it is not
            known.
        undrawn: Number of values, by file (METRICS, SUMMARY) and column, that are infinite, not a
            number, or too large to be drawn.
    """

    path: Path
    label: str
    updates: np.ndarray
    steps: Columns
    steps_in_epochs: np.ndarray
    updates_per_epoch: int | None
    epoch_ends: np.ndarray
    epochs: Columns
    epochs_done: np.ndarray
    best_epoch: int | None
    undrawn: Mapping[str, Mapping[str, int]]


def read_runs(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[RunHistory]:
    """Read runs, called as `run_labels` has it.

    A last line that is only half there, as a run leaves it that is being written or was killed, is
    left out.

    Raises:
        ArgumentError: There is no run, or not a label for each.
        DataError: A folder is not a run, has no update yet, or holds a damaged file.
    """
    return [
        _read_run(path, label) for path, label in zip(paths, run_labels(paths, labels), strict=True)
    ]


def run_labels(paths: Sequence[Path], labels: Sequence[str] = ()) -> Sequence[str]:
    """Return the names of runs: `labels`, or as much of their paths as tells them apart.

    Raises:
        ArgumentError: There is no run, or not a label for each.
    """
    if not paths:
        raise ArgumentError("No run is given.", hint="Name the folder of one run or of several.")
    if labels and len(labels) != len(paths):
        raise ArgumentError(
            f"--label is given {len(labels)} times for {len(paths)} runs.",
            hint="Name every run, or none.",
        )
    return [printable(label) for label in labels or short_names(paths)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as few as make all of them differ."""
    parts = [in_full(path).parts[1:] or (str(path),) for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):  # never, where a run is given twice: whole paths then
            break
    return names


def _read_run(path: Path, label: str) -> RunHistory:
    steps, epochs = NumberColumns(), NumberColumns()
    if path.is_file():
        raise no_run(path, METRICS)
    try:
        for step in step_rows(path):
            steps.add(step.line.where, step.values)
    except FileNotFoundError as problem:
        raise no_run(path, METRICS) from problem
    if not steps.count:
        raise DataError(f"The run in {path} has no update yet.")
    for row in rows_of_epochs(path):
        epochs.add(row.line.where, {name: cell_value(cell) for name, cell in row.cells.items()})
    done, per_epoch = _in_epochs(steps.columns)
    return RunHistory(
        path=path,
        label=label,
        updates=steps.columns["update"],
        steps=steps.columns,
        steps_in_epochs=done,
        updates_per_epoch=per_epoch,
        epoch_ends=_epoch_ends(steps.columns, epochs.columns),
        epochs=epochs.columns,
        # Epochs count from 0 in summary.csv.
        epochs_done=epochs.columns.get("epoch", np.array([])) + 1,
        best_epoch=_best_epoch(path, epochs.columns),
        undrawn={METRICS: steps.undrawn, SUMMARY: epochs.undrawn},
    )


def rows_of_epochs(path: Path) -> Iterator[EpochRow]:
    """Yield the rows of summary.csv; none where there is no such file, as no epoch is through.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
    """
    with suppress(FileNotFoundError):
        yield from epoch_rows(path)


def no_run(path: Path, lacking: str) -> DataError:
    """Return the error of a folder that lacks a file that every run has."""
    return DataError(
        f"{path} is not the folder of a run.",
        reason=_reason(path, lacking),
        hint=f"Give the folder that holds {ARGUMENTS}, as printed when the run started.",
    )


def _reason(path: Path, lacking: str) -> str:
    if path.is_dir():
        return f"It has no {lacking}."
    return "It is a file." if path.exists() else "There is no such folder."


def cell_value(cell: str) -> float | str | None:
    """Parse a cell of summary.csv: a number, text, or nothing."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


def _epoch_ends(steps: Columns, epochs: Columns) -> np.ndarray:
    """Return the update that each epoch ends with."""
    # Epochs count from 1 in metrics.jsonl, from 0 in summary.csv.
    last = dict(zip(steps["epoch"], steps["update"], strict=True))
    each = max(last.values()) / max(last)  # for an epoch that has left no line of its own
    ends = [last.get(epoch + 1, (epoch + 1) * each) for epoch in epochs.get("epoch", ())]
    return np.array(ends, float)


def _in_epochs(steps: Columns) -> tuple[np.ndarray, int | None]:
    """Return the epochs done at each update, and the updates of an epoch where all have as many."""
    epoch, step, count = steps["epoch"], steps.get("step"), steps.get("steps")
    if step is None or count is None or not (count > 0).all():  # the file of another program
        return steps["update"] * (epoch.max() / steps["update"].max()), None
    same = count.min() == count.max()
    return epoch - 1 + step / count, int(count[0]) if same else None


def _best_epoch(path: Path, epochs: Columns) -> int | None:
    """Return the first epoch that is best in the metric that the run's settings choose."""
    try:
        metric = read_settings(path / ARGUMENTS).get("eval_metric")
    except ArgumentError:  # plots need the logs alone
        return None
    values, numbers = epochs.get(f"eval_{metric}"), epochs.get("epoch")
    if values is None or numbers is None:
        return None
    # The model as it came is no epoch of training.
    values = np.where(numbers >= 0, -values if metric == "loss" else values, np.nan)
    return None if np.isnan(values).all() else int(numbers[np.nanargmax(values)]) + 1
