"""Labeled images listed in a CSV file."""

import csv
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from covtool.errors import DataError

COLUMNS = ("path", "label")


def read_rows(
    file: Path, *, split_names: Collection[str], default: str
) -> dict[str, list[tuple[Path, str]]]:
    """The images and labels of a CSV file, by split.

    Paths are relative to the file's folder. Names of columns may be in any case; other columns
    are left alone.

    Args:
        file: Columns ``path`` and ``label``, and perhaps ``split``.
        split_names: What may stand in ``split``, in any case.
        default: The only split, where the file has no column ``split``.

    Raises:
        DataError: Not text, no such columns, no rows, a row that lacks something, missing files.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            _require_columns(file, columns)
            reader.fieldnames = columns
            found = defaultdict(list)
            for row in reader:
                line = f"{file}, line {reader.line_num}"
                split = _split(line, row, split_names) if "split" in columns else default
                path, label = (_cell(line, row, column) for column in COLUMNS)
                found[split].append((file.parent / path, label))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{file} is not a CSV file in UTF-8.", reason=str(problem)) from problem
    if not found:
        raise DataError(f"{file} lists no images.")
    _require_files(file, [path for rows in found.values() for path, _ in rows])
    return dict(found)


def _require_columns(file: Path, columns: Collection[str]) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{file} has no column {' and no column '.join(map(repr, missing))}.",
            reason=f"Its first line names: {', '.join(columns) or 'nothing'}.",
            hint="The first line should read path,label or path,label,split.",
        )


def _cell(line: str, row: dict[str, str | None], column: str) -> str:
    text = (row[column] or "").strip()
    if not text:
        raise DataError(f"{line}: the {column} is empty.")
    return text


def _split(line: str, row: dict[str, str | None], split_names: Collection[str]) -> str:
    text = _cell(line, row, "split")
    if text.lower() not in split_names:
        raise DataError(
            f"{line}: there is no split {text!r}.", hint=f"Known: {', '.join(split_names)}."
        )
    return text


def _require_files(file: Path, paths: list[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} images that {file} lists are not there.",
            reason=f"The first: {missing[0]}.",
            hint=f"Paths in the file are relative to its folder, {file.parent.resolve()}.",
        )
