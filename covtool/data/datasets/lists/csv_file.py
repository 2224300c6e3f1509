"""CSV files as text: their lines, their cells, and what separates them."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, compress
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

_AT_ONCE = 1 << 20
"""Characters of lines that are split into cells at once, and a line more."""

_END = "\x1eend\x1e"
"""A line behind the last one of a file. If a quote never closes, Python's reader takes the rest of
the file for one cell, without an error: this line is in a cell then, and no row of its own."""

Row = Mapping[str, str | None]


class NumberedRows(NamedTuple):
    """Rows that follow each other, none of which is empty.

    Attributes:
        numbers: The number of the last line of each.
        cells: The cells of each.
    """

    numbers: Sequence[int]
    cells: Sequence[list[str]]


class OpenBlocks(NamedTuple):
    """A CSV file that is open.

    Attributes:
        columns: Their names.
        blocks: Its rows, which may have more or fewer cells than there are columns.
    """

    columns: tuple[str, ...]
    blocks: Iterator[NumberedRows]


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
    with opened_blocks(file, normalize=normalize, one_by_one=True) as (columns, blocks):
        yield OpenTable(
            columns,
            (
                (number, row_of(columns, cells))
                for block in blocks
                for number, cells in zip(*block, strict=True)
            ),
        )


@contextmanager
def opened_blocks(
    file: Path, *, normalize: bool = True, one_by_one: bool = False
) -> Iterator[OpenBlocks]:
    """Open a CSV file like `opened_table`, many of whose rows are read at once.

    Args:
        file: File, as of `opened_table`.
        normalize: Whether names of columns are `normalized`.
        one_by_one: Whether a block has a single row, and no line behind it is looked at before the
            next block is asked for: the first error in a file is that of the first wrong line.

    Raises:
        DataError: As `opened_table`.
    """
    with translate_list_errors(file), opened_text(file) as stream:
        lines = checked_lines(stream)
        first = next(lines, "")
        delimiter = _delimiter(first)
        rows = rows_of(chain([first], lines), delimiter=delimiter)
        read, names = next(rows, (0, []))
        if len(names) > MOST_COLUMNS:
            raise ValueError(f"it has {len(names):,} columns, more than {MOST_COLUMNS:,}")
        columns = tuple(normalized(name) if normalize else name for name in names)
        if one_by_one:
            blocks = (NumberedRows((number,), (cells,)) for number, cells in rows if cells)
        else:
            blocks = _many_at_once(lines, delimiter, read)
        yield OpenBlocks(columns, blocks)


def rows_of(
    lines: Iterable[str], *, delimiter: str = ",", read: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line of each row of CSV, and its cells; empty rows have none.

    Args:
        lines: Lines of a file.
        delimiter: Separator of the cells.
        read: Number of lines before them.

    Raises:
        ValueError: A cell is longer than Python's `csv` reads, or a quote never closes.
    """
    reader = _reader(chain(lines, [_END]), delimiter)
    begins = read + 1
    try:
        for cells in reader:
            if cells == [_END]:
                return
            if cells and _END in cells[-1]:  # the file ended within quotes
                raise ValueError(f"a quote opens in line {begins:,} or behind it and never closes")
            yield read + reader.line_num, cells
            begins = read + reader.line_num + 1
    except csv.Error as problem:
        raise ValueError(f"line {read + reader.line_num:,} is not CSV: {problem}") from problem


def _many_at_once(lines: Iterator[str], delimiter: str, read: int) -> Iterator[NumberedRows]:
    """Yield the rows of the rest of a file, as many at a time as their lines have characters."""
    while some := _some(lines):
        cells = _as_many_as_lines(some, delimiter)
        if cells is None:  # a cell of several lines, or what is no CSV
            yield from _grouped(rows_of(chain(some, lines), delimiter=delimiter, read=read))
            return
        numbers: Sequence[int] = range(read + 1, read + 1 + len(some))
        read += len(some)
        if not all(cells):
            numbers, cells = list(compress(numbers, cells)), list(filter(None, cells))
        if cells:
            yield NumberedRows(numbers, cells)


def _some(lines: Iterator[str]) -> list[str]:
    """Return the next lines of `_AT_ONCE` characters, and of one line more at most."""
    some, characters = [], 0
    for line in lines:
        some.append(line)
        characters += len(line)
        if characters >= _AT_ONCE:
            break
    return some


def _as_many_as_lines(lines: Sequence[str], delimiter: str) -> list[list[str]] | None:
    """Return the cells of lines each of which is a row, or None where they are not."""
    try:
        *rows, last = _reader([*lines, _END], delimiter)
    except csv.Error:
        return None
    # Rows of several lines are fewer than these, and no line makes more than one row.
    return rows if last == [_END] and len(rows) == len(lines) else None


def _grouped(rows: Iterator[tuple[int, list[str]]]) -> Iterator[NumberedRows]:
    """Yield rows that are not empty by blocks of about `_AT_ONCE` characters."""
    numbers: list[int] = []
    group: list[list[str]] = []
    characters = 0
    for number, cells in rows:
        if cells:
            numbers.append(number)
            group.append(cells)
            characters += sum(map(len, cells), len(cells))
        if characters >= _AT_ONCE:
            yield NumberedRows(numbers, group)
            numbers, group, characters = [], [], 0
    if group:
        yield NumberedRows(numbers, group)


def _reader(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    # Spaces behind a comma are none of a cell: with them a quote there would not open one.
    return csv.reader(lines, skipinitialspace=True, delimiter=delimiter)


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
