"""Hugging Face's ``imagefolder``: images with a ``metadata.csv`` or ``metadata.jsonl``."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from covtool.data.datasets.folders.classes import folders_in, holds_images, loose_images
from covtool.data.datasets.folders.names import UNSPLIT, exact_split
from covtool.data.datasets.found_images import FoundImages, Labeled, counted, shown
from covtool.data.datasets.lists.csv_file import opened_table
from covtool.data.datasets.lists.label_cells import one_class_each
from covtool.data.datasets.lists.text import checked_lines, opened_text, translate_list_errors
from covtool.data.datasets.published.listing import required
from covtool.documents import parse_json
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec

LISTS = ("metadata.csv", "metadata.jsonl")
FILE = "file_name"
LABELS = ("label", "labels", "class", "category", "target")

Rows = list[dict[str, Any]]


def holds_metadata(root: Path) -> bool:
    """Return whether a list names images and labels, or images that are in no class folders.

    Beside class folders, such a list may hold anything else.
    """
    return any(_tells_labels(file) for file in _lists_below(root))


def read_image_folder(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read the images that the lists name, by the split folder that they are in.

    Args:
        root: The folder.
        choice: Options with the column of the labels, where it is none of `LABELS`.

    Raises:
        DataError: A list is damaged or has no labels, or an image is not there.
    """
    lists = _lists_below(root)
    splits: dict[str, list[Labeled]] = {}
    notes: list[str] = []
    for file in lists:
        rows = list(_rows(file))
        column = _label_column(file, rows, choice)
        images, more = _labeled(file, rows, column)
        notes += [*more, *_on_unlisted(file, images)]
        for path, label in images:
            splits.setdefault(_split(path.relative_to(root)), []).append((path, label))
    if UNSPLIT in splits and len(splits) > 1:
        where = splits[UNSPLIT][0][0]
        raise DataError(f"{where} is in no split, but others are: {', '.join(splits)}.")
    return FoundImages(
        splits=splits,
        unlabeled=_without_list(root, splits),
        notes=(f"Labels: {column} of {lists[0].name}.", *notes),
    )


def _tells_labels(file: Path) -> bool:
    try:
        columns = _columns(file)
    except DataError:
        return True  # reading it raises the error again, with its reason
    return FILE in columns and bool(set(LABELS) & set(columns) or loose_images(file.parent))


def _columns(file: Path) -> list[str]:
    rows = _rows(file)
    # The first row of JSON lines stands for all: a list has no header.
    return [name for name in (rows[0] if rows else {}) if name]


def _lists_below(root: Path) -> list[Path]:
    places = (root, *(child for child in folders_in(root) if exact_split(child.name)))
    return [place / name for place in places for name in LISTS if (place / name).is_file()]


def _rows(file: Path) -> Rows:
    if file.suffix == ".csv":
        # Names as they are: --labels names a column, in its own spelling.
        with opened_table(file, normalize=False) as (_, rows):
            return [dict(row) for _, row in rows]
    return [_object(file, number, line) for number, line in _lines(file)]


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with translate_list_errors(file), opened_text(file) as text:
        for number, line in enumerate(checked_lines(text), start=1):
            if line.strip():
                yield number, line


def _object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as problem:
        raise DataError(f"{file}, line {number}, cannot be read.", reason=str(problem)) from problem
    if not isinstance(row, dict) or not isinstance(row.get(FILE), str | None):
        raise DataError(f"{file}, line {number}, names no image.")
    return row


def _label_column(file: Path, rows: Rows, choice: LayoutSpec) -> str:
    columns = [name for name in (rows[0] if rows else {}) if name]
    wanted = (choice.labels,) if choice.labels else LABELS
    found = next((name for name in wanted if name in columns), None)
    if found is None or FILE not in columns:
        raise DataError(
            f"{file} has no column {FILE if FILE not in columns else ' or '.join(wanted)!r}.",
            reason=f"It has: {shown(columns) or 'nothing'}.",
            hint="--labels names the column that holds the classes.",
        )
    return found


def _labeled(file: Path, rows: Rows, column: str) -> tuple[list[Labeled], tuple[str, ...]]:
    empty = [row.get(FILE) for row in rows if row.get(column) in (None, "") or not row.get(FILE)]
    if empty:
        raise DataError(f"{file}: {printable(str(empty[0]))!r} has no {column}.")
    labels, notes = one_class_each(file, [str(row[column]) for row in rows])
    paths = [file.parent / row[FILE] for row in rows]
    return required(file, zip(paths, labels, strict=True), file.parent), notes


def _on_unlisted(file: Path, images: Sequence[Labeled]) -> list[str]:
    """Return a note on images beside a list that it does not name."""
    listed = {path for path, _ in images}
    others = [path for path in loose_images(file.parent) if path not in listed]
    return [f"{counted(len(others), 'image')} that {file} does not list left out."] * bool(others)


def _without_list(root: Path, splits: Collection[str]) -> dict[str, str]:
    """Return split folders with images that no list names, and that as the reason."""
    others = (c for c in folders_in(root) if exact_split(c.name) and c.name not in splits)
    return {c.name: f"{c} holds images that no list names" for c in others if holds_images(c)}


def _split(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 and exact_split(path.parts[0]) else UNSPLIT
