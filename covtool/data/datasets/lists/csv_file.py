"""CSV files as text: their lines, their cells, and what separates them."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from covtool.data.datasets.lists.column_names import normalized
from covtool.data.datasets.lists.text import checked_lines, opened_text, translate_list_errors
from covtool.errors import DataError
from covtool.printable import printable

DELIMITERS = ",;\t|"

MOST_COLUMNS = 10_000
"""Largest number of columns of a list of images."""

LONGEST_CELL = 4096
"""Characters of a path or a name; no system has longer paths."""

_END = "\x1eend\x1e"
"""A line behind the last one of a file. If a quote never closes, Python's reader takes the rest of
the file for one cell, without an error: this line is in a cell then, and no row of its own."""

Row = Mapping[str, str | None]


class OpenCells(NamedTuple):
    """A CSV file that is open.

    Attributes:
        columns: Their names.
        rows: The number of the last line of each row that is not empty, and its cells.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[int, list[str]]]


class OpenTable(NamedTuple):
    """A CSV file that is open, its cells by column.

    Attributes:
        columns: Their names.
        rows: The number of the last line of each, and its cells by column.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Row]]


@contextmanager
def opened_table(file: Path, *, normalize: bool = True) -> Iterator[OpenTable]:
    """Open a CSV file as a table, whose errors come up where its rows are read.

    Args:
        file: File in UTF-8, or in the encoding of its byte order mark; its cells are separated by
            commas, semicolons, tabs or bars.
        normalize: Whether names of columns are `normalized`.

    Raises:
        DataError: It cannot be read or is not text; it has too many columns, cells that are too
            long, or a quote that never closes.
    """
    with opened_cells(file, normalize=normalize) as (columns, rows):
        yield OpenTable(columns, ((number, row_of(columns, cells)) for number, cells in rows))


@contextmanager
def opened_cells(file: Path, *, normalize: bool = True) -> Iterator[OpenCells]:
    """Open a CSV file like `opened_table`, whose rows may have more or fewer cells than columns.

    Raises:
        DataError: As `opened_table`.
    """
    with translate_list_errors(file), opened_text(file) as stream:
        lines = checked_lines(stream)
        first = next(lines, "")
        cells = rows_of(chain([first], lines), delimiter=_delimiter(first))
        _, names = next(cells, (0, []))
        if len(names) > MOST_COLUMNS:
            raise ValueError(f"it has {len(names):,} columns, more than {MOST_COLUMNS:,}")
        columns = tuple(normalized(name) if normalize else name for name in names)
        yield OpenCells(columns, ((number, row) for number, row in cells if row))


def rows_of(lines: Iterable[str], *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line of each row of CSV, and its cells; empty rows have none.

    Raises:
        ValueError: A cell is longer than Python's `csv` reads, or a quote never closes.
    """
    # Spaces behind a comma are none of a cell: with them a quote there would not open one.
    reader = csv.reader(chain(lines, [_END]), skipinitialspace=True, delimiter=delimiter)
    begins = 1
    try:
        for cells in reader:
            if cells == [_END]:
                return
            if cells and _END in cells[-1]:  # the file ended within quotes
                raise ValueError(f"a quote opens in line {begins:,} or behind it and never closes")
            yield reader.line_num, cells
            begins = reader.line_num + 1
    except csv.Error as problem:
        raise ValueError(f"line {reader.line_num:,} is not CSV: {problem}") from problem


def row_of(columns: Sequence[str], cells: Sequence[str]) -> Row:
    """Return the cells of a row by column."""
    # Cells without a column are dropped, columns without a cell are None: a line that is cut off.
    row: dict[str, str | None] = dict(zip(columns, cells, strict=False))
    if len(cells) < len(columns):
        row |= dict.fromkeys(columns[len(cells) :])
    return row


def values_of(file: Path, names: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the values in some columns, each combination once."""
    with opened_table(file) as table:
        return {tuple((row[name] or "").strip() for name in names) for _, row in table.rows}


def cell_of(line: str, row: Row, column: str, *, may_be_empty: bool = False) -> str:
    """Return the text of a cell, without the spaces around it.

    Args:
        line: Name of the line, for an error.
        row: Row of the file.
        column: Name of the column.
        may_be_empty: Whether the cell may be empty.

    Raises:
        DataError: The cell is empty or missing, has several lines, or is longer than
            `LONGEST_CELL`.
    """
    if may_be_empty and row[column] is None:
        raise DataError(f"{line} ends before the {column}.", reason="The file may be cut off.")
    text = (row[column] or "").strip()
    if not text and not may_be_empty:
        raise DataError(f"{line}: the {column} is empty.")
    # Whatever ends a line is not printable, which is quicker to ask: a list has millions of cells.
    if len(text) > LONGEST_CELL or (not text.isprintable() and len(text.splitlines()) > 1):
        raise DataError(
            f"{line}: the {column} has {len(text):,} characters in {len(text.splitlines()):,} "
            f"lines: {printable(text, longest=50)!r}.",
            hint="A quote may open before it, and close too late.",
        )
    return text


def plain_cells(cells: Sequence[str], *, may_be_empty: bool = False) -> list[str] | None:
    """Return what `cell_of` returns for each of many cells, or None where one needs a second look.

    Args:
        cells: Cells of a column.
        may_be_empty: Whether a cell may be empty.
    """
    texts = list(map(str.strip, cells))
    is_usual = (
        (may_be_empty or all(texts))
        and max(map(len, texts), default=0) <= LONGEST_CELL
        and "".join(texts).isprintable()  # as the end of a line is not
    )
    return texts if is_usual else None


def _delimiter(first_line: str) -> str:
    """Return the separator of the names of the columns: the most frequent one outside quotes."""
    # Not `csv.Sniffer`: on a file of one column it finds a letter that all lines have.
    bare = "".join(first_line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)
