"""Formats of files with a row for each image: how a row is appended, and how the file is finished.

While rows are computed they are appended to a partial file, of text: a parquet file cannot be
appended to once it is closed, so its rows wait as JSON lines and are converted at the end.
"""

import csv
import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.atomic.formats import require_prediction_name
from covtool.errors import ArgumentError
from covtool.prediction.rows import ERROR, PATH, Row

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP = 10_000
"""Rows of a parquet file that are converted at a time."""

ENCODING, UNDECODED = "utf-8", "surrogateescape"
"""Names of files need not be text: their bytes survive in CSV."""

Columns = Sequence[str]


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A format of rows.

    Attributes:
        head: Function that returns the bytes before the first row.
        encode: Function that returns the bytes of a row.
        finish: Function that makes the output of a partial file.
        package: Package that is needed; None without one.
    """

    head: Callable[[Columns], bytes]
    encode: Callable[[Row], bytes]
    finish: Callable[[Path, Path, Columns], None]
    package: str | None = None


def row_format_of(path: Path) -> RowFormat:
    """Return the format that a file's suffix stands for.

    Raises:
        ArgumentError: It stands for none, or its package is not installed.
    """
    require_prediction_name(path)
    found = FORMATS[path.suffix.lower()]
    if found.package and importlib.util.find_spec(found.package) is None:
        raise ArgumentError(
            f"{path} needs the package {found.package}, which is not installed.",
            hint="Install it: pip install 'covtool[parquet]'. Or write .csv or .jsonl.",
        )
    return found


def _csv_line(values: Sequence[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode(ENCODING, UNDECODED)


def _csv_row(row: Row) -> bytes:
    return _csv_line(["" if value is None else value for value in row.values()])


def _json_row(row: Row) -> bytes:
    # ASCII: lone surrogates, of names that are no text, are escaped.
    return json.dumps(row).encode() + b"\n"


def _no_head(columns: Columns) -> bytes:
    return b""


def _copy(partial: Path, output: Path, columns: Columns) -> None:
    # Not moved: should giving the output its name fail, hours of work are still there.
    shutil.copyfile(partial, output)


def _to_parquet(partial: Path, output: Path, columns: Columns) -> None:
    import pyarrow.parquet

    schema = _schema(columns)
    with partial.open("rb") as lines, pyarrow.parquet.ParquetWriter(output, schema) as writer:
        while rows := [_as_text(json.loads(line)) for line in islice(lines, ROW_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


def _schema(columns: Columns) -> "pyarrow.Schema":
    import pyarrow

    def type_of(name: str) -> pyarrow.DataType:
        is_text = name in (PATH, ERROR) or name.startswith("class_")
        return pyarrow.string() if is_text else pyarrow.float64()

    return pyarrow.schema([(name, type_of(name)) for name in columns])


def _as_text(row: Row) -> Row:
    """Escape what is no text in a name: parquet has UTF-8 only."""
    return {
        name: value.encode(ENCODING, "backslashreplace").decode(ENCODING)
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


def first_rows(partial: Path, path: Path, count: int) -> Iterator[dict[str, str]]:
    """Yield the first rows of a partial file, as text by column.

    Args:
        partial: The partial file.
        path: The output, whose suffix says the format.
        count: Number of rows.
    """
    if path.suffix.lower() == ".csv":
        with partial.open(encoding=ENCODING, errors=UNDECODED, newline="") as stream:
            yield from islice(csv.DictReader(stream), count)
        return
    with partial.open("rb") as stream:
        for line in islice(stream, count):
            row = json.loads(line)
            yield {name: "" if value is None else str(value) for name, value in row.items()}


FORMATS = {
    ".csv": RowFormat(head=_csv_line, encode=_csv_row, finish=_copy),
    ".jsonl": RowFormat(head=_no_head, encode=_json_row, finish=_copy),
    ".parquet": RowFormat(head=_no_head, encode=_json_row, finish=_to_parquet, package="pyarrow"),
}
"""Formats by suffix."""
