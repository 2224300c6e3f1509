"""Files beside images that may hold labels, for the text of an error."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from covtool.data.datasets.found_images import shown
from covtool.data.datasets.lists.labeled import columns_of
from covtool.errors import DataError

SUFFIXES = (".csv", ".tsv", ".mat", ".json", ".jsonl", ".txt", ".xlsx", ".parquet")

LOOKED_AT = 10_000  # files of a folder: enough to name suffixes, quick in any folder


def lists_beside(folders: Iterable[Path]) -> str | None:
    """Return the lists in some folders, a CSV file with its columns; None where there are none.

    Args:
        folders: Folders to search, without those in them.
    """
    found = [_described(file) for folder in folders for file in _lists_in(folder)]
    return shown(found, limit=4) if found else None


def suffixes_in(folder: Path) -> str:
    """Return the suffixes of the files in a folder and the folders in it; empty without files."""
    files = (file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.is_file())
    return shown(sorted({file.suffix.lower() or file.name for file in islice(files, LOOKED_AT)}))


def _lists_in(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    return sorted(file for file in files if file.is_file() and not file.name.startswith("."))


def _described(file: Path) -> str:
    if file.suffix.lower() != ".csv":
        return str(file)
    try:
        return f"{file} (columns {shown(columns_of(file), 24) or 'without names'})"
    except DataError:  # this text is part of another error already
        return str(file)
