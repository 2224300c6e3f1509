"""Labeled images listed in a CSV file."""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covtool.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the lines of a CSV file hold. Names of columns may be in any case there.

    Attributes:
        columns: Their names, the first being ``path``; no cell of them may be empty.
        optional: Of columns that may be left out, or have empty cells.
        split_names: What may stand in the column ``split``, in any case; it may be left out.
    """

    columns: tuple[str, ...]
    split_names: Collection[str]
    optional: tuple[str, ...] = ()

    @property
    def first_line(self) -> str:
        """As it should read."""
        short = ",".join((*self.columns, *self.optional))
        return f"{short} or {short},split"


def read_rows(
    file: Path, *, split_names: Collection[str], default: str
) -> dict[str, list[tuple[Path, str]]]:
    """The images and labels of a CSV file, by split; see `read_table`.

    Args:
        file: Columns ``path`` and ``label``, and perhaps ``split``.
        split_names: What may stand in ``split``, in any case.
        default: The only split, where the file has no column ``split``.

    Raises:
        DataError: See `read_table`.
    """
    table = Table(columns=("path", "label"), split_names=split_names)
    return {
        split: [(file.parent / row["path"], row["label"]) for row in rows]
        for split, rows in read_table(file, table, default=default).items()
    }


def read_table(file: Path, table: Table, *, default: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a CSV file, by split, without the spaces around their cells.

    Paths are relative to the file's folder. Other columns are left alone.

    Args:
        file: In UTF-8.
        table: Which columns there are.
        default: The only split, where the file has no column ``split``.

    Raises:
        DataError: Not text, no such columns, no rows, a row that lacks something, missing files.
    """
    found = defaultdict(list)
    with _opened(file) as (reader, columns):
        _require_columns(file, columns, table)
        optional = [name for name in table.optional if name in columns]
        for row in reader:
            line = f"{file}, line {reader.line_num}"
            split = _split(line, row, table.split_names) if "split" in columns else default
            cells = {name: _cell(line, row, name) for name in table.columns}
            cells |= {name: _cell(line, row, name, may_be_empty=True) for name in optional}
            found[split].append(cells)
    if not found:
        raise DataError(f"{file} lists no images.")
    paths = [file.parent / row["path"] for rows in found.values() for row in rows]
    require_files(file, paths, file.parent)
    return dict(found)


def columns_of(file: Path) -> tuple[str, ...]:
    """The names of the columns of a CSV file, in lower case.

    Raises:
        DataError: It is not text.
    """
    with _opened(file) as (_, columns):
        return columns


def require_files(file: Path, paths: Sequence[Path], folder: Path) -> None:
    """Refuse a list of images, some of which are not there.

    Args:
        file: That lists them.
        paths: Of the images.
        folder: That the paths in the file are relative to.

    Raises:
        DataError: It names the first.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} images that {file} lists are not there.",
            reason=f"The first: {missing[0]}.",
            hint=f"Paths in the file are relative to the folder {folder.resolve()}.",
        )


@contextmanager
def _opened(file: Path) -> Iterator[tuple[csv.DictReader, tuple[str, ...]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            yield reader, tuple(columns)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{file} is not a CSV file in UTF-8.", reason=str(problem)) from problem


def _require_columns(file: Path, columns: Collection[str], table: Table) -> None:
    missing = [name for name in table.columns if name not in columns]
    if missing:
        raise DataError(
            f"{file} has no column {' and no column '.join(map(repr, missing))}.",
            reason=f"Its first line names: {', '.join(columns) or 'nothing'}.",
            hint=f"The first line should read {table.first_line}.",
        )


def _cell(
    line: str, row: Mapping[str, str | None], column: str, *, may_be_empty: bool = False
) -> str:
    if may_be_empty and row[column] is None:
        raise DataError(f"{line} ends before the {column}.", reason="The file may be cut off.")
    text = (row[column] or "").strip()
    if not text and not may_be_empty:
        raise DataError(f"{line}: the {column} is empty.")
    return text


def _split(line: str, row: Mapping[str, str | None], split_names: Collection[str]) -> str:
    text = _cell(line, row, "split")
    if text.lower() not in split_names:
        raise DataError(
            f"{line}: there is no split {text!r}.", hint=f"Known: {', '.join(split_names)}."
        )
    return text
