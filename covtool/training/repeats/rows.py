"""Files of rows about the images of folds, of one run and of several."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from covtool.atomic import written_whole

BEST = "best"
"""Model of a run that the rows are of."""


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all.

    Raises:
        SaveError: It cannot be written.
    """
    with (
        written_whole(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def join_rows(files: Sequence[Path], path: Path) -> None:
    """Write the rows of files with the same columns into one, in their order.

    Raises:
        OSError: One cannot be read.
        SaveError: The file cannot be written.
    """

    def rows() -> Iterator[Sequence[str]]:
        for number, file in enumerate(files):
            with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
                reader = csv.reader(lines)
                columns = next(reader)
                if number == 0:
                    yield columns
                yield from reader

    lines = rows()
    write_rows(path, next(lines), lines)
