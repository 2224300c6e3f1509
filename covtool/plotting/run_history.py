"""What a run wrote down of its updates and epochs, read back as columns of numbers.

Columns are whatever the files hold: a run of another command may have others.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covtool.errors import ArgumentError, DataError
from covtool.full_paths import in_full

ARGUMENTS, STEPS, EPOCHS = "args.yaml", "metrics.jsonl", "summary.csv"

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """A run's columns; what a row does not say, or what is infinite, is NaN.

    Attributes:
        path: The run's folder.
        label: What it is called beside others.
        updates: Number of each update, counted from 1.
        steps: Of `updates`: the numbers in metrics.jsonl.
        epoch_ends: The last update of each epoch.
        epochs: Of `epoch_ends`: the numbers in summary.csv.
    """

    path: Path
    label: str
    updates: np.ndarray
    steps: Columns
    epoch_ends: np.ndarray
    epochs: Columns


def read_runs(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[RunHistory]:
    """Read runs, called as `run_labels` has it.

    A last line that is only half there, as a run leaves it that is being written or was killed, is
    left out.

    Raises:
        ArgumentError: There is no run, or not a label for each.
        DataError: A folder is no run, has no update yet, or holds a damaged file.
    """
    return [
        _read_run(path, label) for path, label in zip(paths, run_labels(paths, labels), strict=True)
    ]


def run_labels(paths: Sequence[Path], labels: Sequence[str] = ()) -> Sequence[str]:
    """What runs are called: `labels`, or as much of their paths as tells them apart.

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
    return labels or short_names(paths)


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as make all of them differ."""
    parts = [in_full(path).parts[1:] or (str(path),) for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read_run(path: Path, label: str) -> RunHistory:
    rows = _numbers(_steps(path))
    if not rows:
        raise DataError(f"The run in {path} has no update yet.")
    steps = _columns([row for _, row in rows])
    epochs = _columns([row for _, row in _numbers(epoch_rows(path))])
    return RunHistory(
        path=path,
        label=label,
        updates=steps["update"],
        steps=steps,
        epoch_ends=_epoch_ends(steps, epochs),
        epochs=epochs,
    )


def _steps(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row of metrics.jsonl is, and what it says."""
    for where, line, whole in _lines(path, STEPS):
        try:
            row = json.loads(line)
        except ValueError as problem:
            if whole:
                raise damaged(where, str(problem)) from problem
            return
        if not isinstance(row, dict) or not {"update", "epoch"} <= row.keys():
            raise damaged(where, "It does not say which update and epoch it is of.")
        yield where, row


def epoch_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row of summary.csv is, and what it says; none where no epoch is through.

    A last line that is only half there is left out.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
    """
    header: list[str] | None = None
    for where, line, whole in _lines(path, EPOCHS) if (path / EPOCHS).exists() else ():
        try:
            (cells,) = csv.reader(io.StringIO(line))
        except (csv.Error, ValueError) as problem:
            raise damaged(where, str(problem)) from problem
        if not whole:
            return
        if header is None:
            header = cells
            if "epoch" not in header:
                raise damaged(where, "It names no column 'epoch'.")
            continue
        if len(cells) != len(header):
            raise damaged(where, f"It has {len(cells)} values for {len(header)} columns.")
        yield where, {name: _value(cell) for name, cell in zip(header, cells, strict=True)}


def _lines(path: Path, name: str) -> Iterator[tuple[str, str, bool]]:
    """Where each line is, the line, and whether it was written to its end."""
    try:
        text = (path / name).read_text(encoding="utf-8")
    except FileNotFoundError as problem:
        raise no_run(path, name) from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path / name} cannot be read.", reason=str(problem)) from problem
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if line.strip():
            yield f"{path / name}, line {number}", line.rstrip("\r\n"), line.endswith("\n")


def no_run(path: Path, lacking: str) -> DataError:
    """The error of a folder that lacks a file that every run has."""
    return DataError(
        f"{path} is not the folder of a run.",
        reason=f"It has no {lacking}." if path.is_dir() else "There is no such folder.",
        hint=f"Give the folder that holds {ARGUMENTS}, as printed when the run started.",
    )


def damaged(where: str, reason: str) -> DataError:
    """The error of a line that cannot be what was written."""
    return DataError(f"{where}, is damaged.", reason=reason)


def _value(cell: str) -> float | str | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


def _numbers(
    rows: Iterator[tuple[str, dict[str, Any]]],
) -> list[tuple[str, dict[str, float | None]]]:
    """The rows without their columns of text.

    Raises:
        DataError: A column has numbers and text.
    """
    found = list(rows)
    cells = (cell for _, row in found for cell in row.items())
    numeric = dict.fromkeys(name for name, value in cells if isinstance(value, int | float))
    for where, row in found:
        for name in numeric.keys() & row.keys():
            if not isinstance(row[name], int | float | None):
                raise damaged(where, f"{name} is {row[name]!r}, which is no number.")
    return [(where, {name: row.get(name) for name in numeric}) for where, row in found]


def _columns(rows: Sequence[Mapping[str, float | None]]) -> Columns:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {
        name: np.array([np.nan if row.get(name) is None else row[name] for row in rows], float)
        for name in names
    }
    return {name: np.where(np.isfinite(column), column, np.nan) for name, column in columns.items()}


def _epoch_ends(steps: Columns, epochs: Columns) -> np.ndarray:
    """Epochs count from 1 in metrics.jsonl, from 0 in summary.csv."""
    last = dict(zip(steps["epoch"], steps["update"], strict=True))
    each = max(last.values()) / max(last)  # where an epoch has left no line of its own
    ends = [last.get(epoch + 1, (epoch + 1) * each) for epoch in epochs.get("epoch", ())]
    return np.array(ends, float)
