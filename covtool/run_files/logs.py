"""The logs of a run, line by line: metrics.jsonl has one per update, summary.csv one per epoch.

spectra.jsonl has one per half-step of SVDNet's training. They grow by a line at a time, so that
each has its number after the one before it. A last line that is only half there, as a run leaves it
that is being written or was killed, does not count.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.documents import parse_json
from covtool.errors import DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import MEBIBYTE, opened
from covtool.run_files.names import METRICS, SPECTRA, SUMMARY

LONGEST_LINE = 1 << 16
"""Bytes of a line of a log; a run's own have a few hundred."""
MOST_LINES = 2_000_000
"""Lines of a log: 30 epochs of ImageNet with 20 images an update."""
MOST_EPOCHS = 100_000
"""Rows of summary.csv."""
MOST_COLUMNS = 100
"""Columns of summary.csv; a run's own have 7 or 15."""
LARGEST_LOG = 512 * MEBIBYTE
"""Bytes of a log: so many lines as a run writes them."""
LARGEST_COUNT = 1 << 53
"""Updates or epochs: from here on, a float64 does not tell one from the next."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log.

    Attributes:
        where: File and number, for messages.
        text: Text without the end of the line.
        is_whole: Whether it was written to its end.
        end: Position of its end in the file, in bytes.
    """

    where: str
    text: str
    is_whole: bool
    end: int


@dataclass(frozen=True, slots=True)
class StepRow:
    """A line of metrics.jsonl.

    Attributes:
        line: Line that it was read from.
        update: Number, counted from 1; larger than that of the row before it.
        epoch: Number, counted from 1; not smaller than that of the row before it.
        values: All values of the line, by name.
    """

    line: Line
    update: int
    epoch: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EpochRow:
    """A row of summary.csv.

    Attributes:
        line: Line that it was read from.
        epoch: Number, counted from 0, -1 for the model as it came; larger than in the row before.
        cells: Texts, by the names of their columns.
    """

    line: Line
    epoch: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class SpectrumRow:
    """A line of spectra.jsonl.

    Attributes:
        line: Line that it was read from.
        epoch: Epochs done by then, 0 for the model as it came; larger than in the row before.
        phase: Half-step that was over by then.
        values: Singular values of the Eigenlayer's weight in descending order.
    """

    line: Line
    epoch: int
    phase: str
    values: tuple[float, ...]


def step_rows(run: Path) -> Iterator[StepRow]:
    """Yield the lines of metrics.jsonl.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
        FileNotFoundError: There is none.
    """
    update, epoch = 0, 1
    for line in lines(run / METRICS):
        try:
            values = parse_json(line.text)
        except ValueError as problem:
            if line.is_whole:  # else the run is writing it, or was killed while it did
                raise damaged(line.where, str(problem)) from problem
            return
        if not isinstance(values, dict) or not {"update", "epoch"} <= values.keys():
            raise damaged(line.where, "It does not say which update and epoch it is of.")
        before, update = update, _count(line, "update", values["update"])
        _require_order(line, "update", before + 1 <= update, update, before)
        earlier, epoch = epoch, _count(line, "epoch", values["epoch"])
        _require_order(line, "epoch", earlier <= epoch, epoch, earlier)
        yield StepRow(line, update, epoch, values)


def spectrum_rows(run: Path) -> Iterator[SpectrumRow]:
    """Yield the lines of spectra.jsonl.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
        FileNotFoundError: There is none.
    """
    epoch = -1
    for line in lines(run / SPECTRA, at_most=MOST_EPOCHS):
        try:
            row = parse_json(line.text)
        except ValueError as problem:
            if line.is_whole:
                raise damaged(line.where, str(problem)) from problem
            return
        if not isinstance(row, dict) or not {"epoch", "phase", "singular_values"} <= row.keys():
            raise damaged(line.where, "It is not a half-step with its singular values.")
        before, epoch = epoch, _count(line, "epoch", row["epoch"], least=0)
        _require_order(line, "epoch", before < epoch, epoch, before)
        phase, values = row["phase"], row["singular_values"]
        if not isinstance(phase, str) or not _is_spectrum(values):
            raise damaged(line.where, "Its values are not the singular values of a half-step.")
        yield SpectrumRow(line, epoch, phase, tuple(map(float, values)))


def epoch_rows(run: Path) -> Iterator[EpochRow]:
    """Yield the rows of summary.csv.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
        FileNotFoundError: There is none.
    """
    columns: list[str] | None = None
    epoch = -2  # one less than the first may have
    for line in lines(run / SUMMARY, at_most=MOST_EPOCHS + 1):
        if not line.is_whole:
            return
        cells = _cells(line)
        if columns is None:
            columns = _header(line, cells)
            continue
        if len(cells) != len(columns):
            raise damaged(line.where, f"It has {len(cells)} values for {len(columns)} columns.")
        named = dict(zip(columns, cells, strict=True))
        before, epoch = epoch, _count(line, "epoch", _number(named["epoch"]), least=-1)
        _require_order(line, "epoch", before < epoch, epoch, before)
        yield EpochRow(line, epoch, named)


def summary_columns(run: Path) -> tuple[list[str], int]:
    """Return the names of the columns of summary.csv, and where their line ends, in bytes.

    Returns:
        None and 0 where that line is not whole.

    Raises:
        DataError: It is damaged, or the file cannot be read.
        FileNotFoundError: There is none.
    """
    line = next(lines(run / SUMMARY), None)
    if line is None or not line.is_whole:
        return [], 0
    return _header(line, _cells(line)), line.end


def lines(path: Path, *, at_most: int = MOST_LINES) -> Iterator[Line]:
    """Yield the lines of a log that have something in them.

    Args:
        path: The log.
        at_most: The number of lines from which on it is refused.

    Raises:
        DataError: A line is longer than `LONGEST_LINE` or is not text, there are more of them, the
            file is larger than `LARGEST_LOG`, or it cannot be read.
        FileNotFoundError: There is none.
    """
    try:
        with opened(path) as file:  # in bytes: where lines end decides where a log is cut off
            end = 0
            for number in range(1, at_most + 2):
                # One byte more than is allowed: enough to know, and never more in memory.
                content = file.readline(LONGEST_LINE + 1)
                if not content:
                    return
                end += len(content)
                if end > LARGEST_LOG or number > at_most:
                    break
                if content.strip(b"\r\n\t "):
                    where = f"{path}, line {number}"
                    text = _text(path, number, content)
                    yield Line(where, text, content.endswith(b"\n"), end)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise unreadable(path, reason_of(problem)) from problem
    most = f"{at_most:,} lines or {LARGEST_LOG / MEBIBYTE:g} MiB"
    raise unreadable(path, f"It has more than {most}.")


def damaged(where: str, reason: str) -> DataError:
    """Return the error of a line that cannot be what was written."""
    return DataError(f"{where}, is damaged.", reason=reason)


def unreadable(path: Path, reason: str) -> DataError:
    """Return the error of a log that nothing can be read from."""
    return DataError(f"{path} cannot be read.", reason=reason)


def _text(path: Path, number: int, content: bytes) -> str:
    if len(content) > LONGEST_LINE:
        raise unreadable(path, f"Line {number} has more than {LONGEST_LINE:,} bytes.")
    try:
        return content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as problem:
        reason = f"{problem.reason} at its byte {problem.start}"
        raise unreadable(path, f"Line {number} is not UTF-8 text: {reason}.") from problem


def _cells(line: Line) -> list[str]:
    try:  # a quote that is never closed is an error only where csv is strict
        (cells,) = csv.reader([line.text], strict=True)
    except (csv.Error, ValueError) as problem:
        raise damaged(line.where, f"It is not a row: {printable(str(problem))}.") from problem
    return cells


def _header(line: Line, cells: list[str]) -> list[str]:
    if len(cells) > MOST_COLUMNS:
        raise damaged(line.where, f"It names {len(cells):,} columns, of {MOST_COLUMNS} at most.")
    if "epoch" not in cells:
        raise damaged(line.where, "It names no column 'epoch'.")
    if len(set(cells)) < len(cells):  # a dictionary of the row would keep the last one only
        twice = next(name for name in cells if cells.count(name) > 1)
        raise damaged(line.where, f"The column {printable(twice)!r} is there twice.")
    return cells


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _count(line: Line, name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number, which may be written as a float."""
    # JSON's true is an int to Python, and 1.0 is how a spreadsheet writes a 1.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and least <= value < LARGEST_COUNT and math.floor(value) == value:
        return int(value)
    shown = printable(repr(value) if not isinstance(value, int) else _short(value))
    raise damaged(line.where, f"Its {name} is {shown}, which is not a number of one.")


def _is_spectrum(values: Any) -> bool:
    """Return whether a list has finite numbers, none negative, in descending order."""
    if not isinstance(values, list) or not values:
        return False
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return False
    return values[-1] >= 0 and values[0] < math.inf and values == sorted(values, reverse=True)


def _short(value: int) -> str:
    # Python refuses to write integers of more than 4,300 digits.
    return str(value) if abs(value) < LARGEST_COUNT else "a number too large"


def _require_order(line: Line, name: str, in_order: bool, value: int, before: int) -> None:
    if not in_order:
        raise damaged(line.where, f"Its {name} is {value}, after {before} in a line before it.")
