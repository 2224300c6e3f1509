"""CSV files whose cells may come from names of files, which need not be text."""

import csv
from collections.abc import Iterable
from pathlib import Path

Cell = str | int | float | None


def write_rows(path: Path, head: Iterable[str], rows: Iterable[Iterable[Cell]]) -> None:
    """Write a CSV file with a head; None is an empty cell, and numbers have all their digits.

    Bytes of names that are no text survive; half characters that stand for no byte are escaped.
    """
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_encodable(cell) for cell in head])
        writer.writerows([_encodable(cell) for cell in row] for row in rows)


def _encodable(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return "" if cell is None else cell
    try:
        cell.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return cell.encode("utf-8", "backslashreplace").decode()
    return cell
