"""The list of a run's images in a file: a resumed run keeps to it, whatever the folder holds."""

import csv
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from covtool.atomic import written_whole
from covtool.data.datasets.found_images import LabeledPaths
from covtool.data.datasets.garbage import without_collection
from covtool.data.datasets.image_paths import ImagePathsBuilder, texts_below
from covtool.data.datasets.layout import DataLayout, canonical_splits, layout_of_list
from covtool.data.datasets.lists.labeled import is_table
from covtool.data.datasets.places import nothing_there
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.retrieval.training import searching_layout
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.datasets.samples import relative_texts
from covtool.errors import DataError, reason_of
from covtool.full_paths import relative_name
from covtool.printable import printable
from covtool.regular_files import opened

LABELED = ("path", "label", "split", "left_out")
LEFT_OUT = "yes"
SUBSETS = ("train", "val", "query", "gallery", "test")
IDENTIFIED = ("path", "identity", "camera", "split", "left_out")

LONGEST_LINE = 1 << 16
"""Bytes of a line: paths are shorter."""
LARGEST_LIST = 2 << 30
"""Bytes of a list: 14 million images have about one GiB."""

Row = dict[str, str]

_WAY_ON = "The run wrote it when it was started: bring it back as it was."


def write_image_list(file: Path, layout: DataLayout, left_out: Collection[Path]) -> None:
    """Write every image of a data set to a CSV file.

    For a search, the file has the columns of a data set for retrieval.

    Args:
        file: The list, replaced if it is there.
        layout: The data set; paths are written relative to its folder.
        left_out: Images of it that are not used.
    """
    searched = layout.searched
    columns = LABELED if searched is None else IDENTIFIED
    omitted = {relative_name(path, layout.folder) for path in left_out}
    rows = (
        _labeled_rows(layout, omitted)
        if searched is None
        else _identified_rows(layout, searched, omitted)
    )
    with (
        written_whole(file) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


@without_collection()
def read_image_list(file: Path, root: Path) -> tuple[DataLayout, frozenset[Path]]:
    """Read a list that `write_image_list` wrote; the images need not be there.

    Args:
        file: The list.
        root: Folder or CSV file of the data set, which may have moved.

    Returns:
        The data set, and the images of it that are not used.

    Raises:
        DataError: The file is damaged, or there is nothing at `root`.
    """
    # By its name as well: a CSV file that is gone is still no folder.
    folder = root.parent if root.is_file() or is_table(root) else root
    with _opened_list(file, (LABELED, IDENTIFIED)) as (columns, rows):
        read = _read_identified if columns == IDENTIFIED else _read_labeled
        return read(file, root, folder, rows)


def list_rows(file: Path, forms: Collection[tuple[str, ...]]) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns of a list of images that a run wrote, and its rows.

    Args:
        file: The list.
        forms: Columns that such a list may have.

    Raises:
        DataError: It is damaged; the error names the line.
    """
    with _opened_list(file, forms) as (columns, rows):
        return columns, [dict(zip(columns, cells, strict=True)) for cells in rows]


@contextmanager
def _opened_list(
    file: Path, forms: Collection[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], Iterator[list[str]]]]:
    """Open a list; yield its columns, and the cells of its rows as they are read."""
    try:
        with opened(file) as content:
            reader = csv.reader(_lines(content), strict=True)
            columns = tuple(next(reader, ()))
            if columns not in forms:
                raise damaged_list(file, "its first line does not name the columns of such a list")
            yield columns, (_checked_row(file, reader.line_num, columns, row) for row in reader)
    except OSError as problem:
        raise DataError(
            f"{file} cannot be read.", reason=reason_of(problem), hint=_WAY_ON
        ) from problem
    except (ValueError, csv.Error) as problem:
        if isinstance(problem, DataError):  # a ValueError as well
            raise
        raise damaged_list(
            file, f"line {reader.line_num + 1}: {printable(str(problem))}"
        ) from problem


def _checked_row(file: Path, line: int, columns: Sequence[str], cells: list[str]) -> list[str]:
    if len(cells) != len(columns):
        raise damaged_list(file, f"line {line} has {len(cells)} values for {len(columns)} columns")
    if not cells[0] or "\0" in cells[0]:
        raise damaged_list(file, f"line {line} names no image")
    if columns[-1] == LABELED[-1] and cells[-1] not in ("", LEFT_OUT):
        raise damaged_list(file, f"line {line} does not say whether its image is left out")
    return cells


def _lines(content: BinaryIO) -> Iterator[str]:
    """Yield the lines of a list, of bounded length."""
    size = 0
    while line := content.readline(LONGEST_LINE + 1):
        size += len(line)
        if len(line) > LONGEST_LINE or size > LARGEST_LIST:
            # Before the line is decoded: a damaged file may be one line of gigabytes.
            raise ValueError("There is more than an image has, or than a list is read of")
        # File names are bytes and need not be UTF-8: the rest stands for itself, as in `Path`.
        yield line.decode("utf-8", "surrogateescape")


def damaged_list(file: Path, reason: str) -> DataError:
    """Return the error of a list of images that is not what a run wrote."""
    return DataError(f"{file} is damaged: {reason}.", hint=_WAY_ON)


def _labeled_rows(layout: DataLayout, omitted: Collection[str]) -> Iterator[tuple[str, ...]]:
    for key, samples in layout.splits.items():
        texts = partial(relative_texts, samples, layout.folder)
        labels = map(layout.class_names.__getitem__, labels_of(samples).tolist())
        own, marks = repeat(layout.split_names[key]), _marks(texts, omitted)
        # Without a function of a row, of which there may be millions.
        yield from zip(texts(), labels, own, marks, strict=False)  # two of them never end


def _identified_rows(
    layout: DataLayout, searched: RetrievalLayout, omitted: Collection[str]
) -> Iterator[tuple[str, ...]]:
    for subset, samples in searched.subsets.items():
        for sample in samples:
            relative = relative_name(sample.path, layout.folder)
            mark = LEFT_OUT if relative in omitted else ""
            yield relative, sample.identity, sample.camera or "", subset, mark


def _marks(texts: Callable[[], Iterator[str]], omitted: Collection[str]) -> Iterator[str]:
    if not omitted:
        return repeat("")
    return (LEFT_OUT if text in omitted else "" for text in texts())


Rows = Iterator[list[str]]


def _read_labeled(
    file: Path, root: Path, folder: Path, rows: Rows
) -> tuple[DataLayout, frozenset[Path]]:
    below = texts_below(folder)
    paths: dict[str, ImagePathsBuilder] = {}
    labels: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, str] = {}
    left_out = []
    for path, label, split, omitted in rows:
        text = below(path)
        paths.setdefault(split, ImagePathsBuilder()).append(text)
        labels[split].append(classes.setdefault(label, label))  # one text a class, not an image
        if omitted:
            left_out.append(Path(text))
    _require_splits(file, paths, canonical_splits(paths).values())
    found = {
        split: LabeledPaths.of(column.done(), labels[split]) for split, column in paths.items()
    }
    return layout_of_list(root, found), frozenset(left_out)


def _read_identified(
    file: Path, root: Path, folder: Path, rows: Rows
) -> tuple[DataLayout, frozenset[Path]]:
    found, left_out = defaultdict(list), []
    for path, identity, camera, split, omitted in rows:
        found[split].append(RetrievalSample(folder / path, identity, camera or None))
        if omitted:
            left_out.append(folder / path)
    _require_splits(file, found, SUBSETS)
    return _identified(root, found), frozenset(left_out)


def _require_splits(file: Path, found: Collection[str], known: Collection[str]) -> None:
    if unknown := set(found).difference(known):
        raise damaged_list(file, f"there is no split {printable(min(unknown))!r} of images")
    if not found:
        raise damaged_list(file, "it has no images")


def _identified(root: Path, found: dict[str, list[RetrievalSample]]) -> DataLayout:
    if not root.exists():
        raise nothing_there(root)
    shared = "test" in found
    if shared:  # one list of images that are searched for among each other
        found["query"] = found["gallery"] = found.pop("test")
    subsets = {name: tuple(found.get(name, ())) for name in ("train", "val", "query", "gallery")}
    kind = "folders" if root.is_dir() else "csv"
    return searching_layout(RetrievalLayout(root=root, kind=kind, shared=shared, **subsets))
