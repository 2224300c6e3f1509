"""A CSV file as text: its lines, its cells, and what separates them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from covtool.data.csv_columns import normalized
from covtool.errors import DataError

DELIMITERS = ",;\t|"


@contextmanager
def opened_table(file: Path) -> Iterator[tuple[csv.DictReader, tuple[str, ...]]]:
    """Read a CSV file: its rows, and the names of its columns.

    Raises:
        DataError: It is not text in UTF-8.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            delimiter = _delimiter(stream.readline())
            stream.seek(0)
            reader = csv.DictReader(stream, skipinitialspace=True, delimiter=delimiter)
            columns = [normalized(name) for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            yield reader, tuple(columns)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(
            f"{file} is not a CSV file in UTF-8.", reason=str(problem), hint="Save it as UTF-8."
        ) from problem


def values_of(file: Path, names: Sequence[str]) -> set[tuple[str, ...]]:
    """What stands in some columns, each combination once."""
    with opened_table(file) as (reader, _):
        return {tuple((row[name] or "").strip() for name in names) for row in reader}


def cell_of(
    line: str, row: Mapping[str, str | None], column: str, *, may_be_empty: bool = False
) -> str:
    """What stands in a cell, without the spaces around it.

    Args:
        line: Which one it is, in words.
        row: Of the file.
        column: Name of the column.
        may_be_empty: Whether nothing may stand there.

    Raises:
        DataError: The cell is empty or missing.
    """
    if may_be_empty and row[column] is None:
        raise DataError(f"{line} ends before the {column}.", reason="The file may be cut off.")
    text = (row[column] or "").strip()
    if not text and not may_be_empty:
        raise DataError(f"{line}: the {column} is empty.")
    return text


def _delimiter(first_line: str) -> str:
    """What separates the names of the columns: what there is most of outside quotes."""
    bare = "".join(first_line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)
