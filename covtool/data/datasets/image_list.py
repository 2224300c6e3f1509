"""The list of a run's images in a file: a resumed run keeps to it, whatever the folder holds."""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from covtool.atomic import written_whole
from covtool.data.datasets.layout import DataLayout, canonical_splits, layout_of_list, nothing_there
from covtool.data.datasets.lists.labeled import is_table
from covtool.data.datasets.retrieval.training import searching_layout
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
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
    rows = _labeled_rows(layout) if searched is None else _identified_rows(searched)
    with (
        written_whole(file) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for path, *cells in rows:
            relative = relative_name(path, layout.folder)
            writer.writerow((relative, *cells, LEFT_OUT if path in left_out else ""))


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
    columns, found = list_rows(file, (LABELED, IDENTIFIED))
    rows = [(folder / row["path"], row) for row in found]
    left_out = frozenset(path for path, row in rows if row["left_out"])
    read, known = (
        (_identified, SUBSETS)
        if columns == IDENTIFIED
        else (_labeled, canonical_splits({row["split"]: row for row in found}).values())
    )
    if unknown := {row["split"] for row in found}.difference(known):
        raise damaged_list(file, f"there is no split {printable(min(unknown))!r} of images")
    if not rows:
        raise damaged_list(file, "it has no images")
    return read(root, rows), left_out


def list_rows(file: Path, forms: Collection[tuple[str, ...]]) -> tuple[tuple[str, ...], list[Row]]:
    """Return the columns of a list of images that a run wrote, and its rows.

    Args:
        file: The list.
        forms: Columns that such a list may have.

    Raises:
        DataError: It is damaged; the error names the line.
    """
    try:
        with opened(file) as content:
            reader = csv.reader(_lines(content), strict=True)
            columns = tuple(next(reader, ()))
            if columns not in forms:
                raise damaged_list(file, "its first line does not name the columns of such a list")
            return columns, [_row(file, reader.line_num, columns, cells) for cells in reader]
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


def _row(file: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(columns):
        raise damaged_list(file, f"line {line} has {len(cells)} values for {len(columns)} columns")
    row = dict(zip(columns, cells, strict=True))
    if not row["path"] or "\0" in row["path"]:
        raise damaged_list(file, f"line {line} names no image")
    if row.get("left_out", "") not in ("", LEFT_OUT):
        raise damaged_list(file, f"line {line} does not say whether its image is left out")
    return row


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


def _labeled_rows(layout: DataLayout) -> Iterator[tuple[Path, str, str]]:
    for key, samples in layout.splits.items():
        for sample in samples:
            yield sample.path, layout.class_names[sample.label], layout.split_names[key]


def _identified_rows(layout: RetrievalLayout) -> Iterator[tuple[Path, str, str, str]]:
    for subset, samples in layout.subsets.items():
        for sample in samples:
            yield sample.path, sample.identity, sample.camera or "", subset


def _labeled(root: Path, rows: Iterable[tuple[Path, Row]]) -> DataLayout:
    found = defaultdict(list)
    for path, row in rows:
        found[row["split"]].append((path, row["label"]))
    return layout_of_list(root, found)


def _identified(root: Path, rows: Sequence[tuple[Path, Row]]) -> DataLayout:
    if not root.exists():
        raise nothing_there(root)
    found = defaultdict(list)
    for path, row in rows:
        sample = RetrievalSample(path, row["identity"], row["camera"] or None)
        found[row["split"]].append(sample)
    shared = "test" in found
    if shared:  # one list of images that are searched for among each other
        found["query"] = found["gallery"] = found.pop("test")
    subsets = {name: tuple(found[name]) for name in ("train", "val", "query", "gallery")}
    kind = "folders" if root.is_dir() else "csv"
    return searching_layout(RetrievalLayout(root=root, kind=kind, shared=shared, **subsets))
