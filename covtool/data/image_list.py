"""The images of a run in a file: a resumed run keeps to them, whatever the folder holds by then."""

import csv
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from covtool.atomic import written_whole
from covtool.data.csv_layout import is_table
from covtool.data.layouts import DataLayout, listed, nothing_there
from covtool.data.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.errors import DataError

LABELED = ("path", "label", "split", "left_out")
IDENTIFIED = ("path", "identity", "camera", "split", "left_out")

Row = dict[str, str]


def write_image_list(file: Path, layout: DataLayout, left_out: Collection[Path]) -> None:
    """Write every image of a data set to a CSV file.

    One that is searched in is written as such a file of `covtool.data.retrieval_forms`.

    Args:
        file: Replaced if it is there.
        layout: The data set; paths are written relative to its folder.
        left_out: Images of it that are not used.
    """
    searched = layout.searched
    columns = LABELED if searched is None else IDENTIFIED
    rows = _labeled_rows(layout) if searched is None else _identified_rows(searched)
    with written_whole(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(columns)
        for path, *cells in rows:
            relative = os.path.relpath(path, layout.folder)
            writer.writerow((relative, *cells, "yes" if path in left_out else ""))


def read_image_list(file: Path, root: Path) -> tuple[DataLayout, frozenset[Path]]:
    """Read what `write_image_list` wrote; whether the images are there is not looked at.

    Args:
        file: The list.
        root: Folder or CSV file of the data set, which may have moved.

    Returns:
        The data set, and the images of it that are not used.

    Raises:
        DataError: The file is damaged, or there is nothing at `root`.
    """
    folder = root.parent if root.is_file() or is_table(root) else root
    try:
        with file.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            rows = [(folder / row["path"], row) for row in reader]
        read = _identified if "identity" in (reader.fieldnames or ()) else _labeled
        left_out = frozenset(path for path, row in rows if row["left_out"])
        return read(root, rows), left_out
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise DataError(f"{file} is damaged.", reason=reason) from problem


def _labeled_rows(layout: DataLayout) -> Iterator[tuple[Path, str, str]]:
    for key, samples in layout.splits.items():
        for sample in samples:
            yield sample.path, layout.class_names[sample.label], layout.called[key]


def _identified_rows(layout: RetrievalLayout) -> Iterator[tuple[Path, str, str, str]]:
    for subset, samples in layout.subsets.items():
        for sample in samples:
            yield sample.path, sample.identity, sample.camera or "", subset


def _labeled(root: Path, rows: Iterable[tuple[Path, Row]]) -> DataLayout:
    found = defaultdict(list)
    for path, row in rows:
        found[row["split"]].append((path, row["label"]))
    return listed(root, found)


def _identified(root: Path, rows: Sequence[tuple[Path, Row]]) -> DataLayout:
    if not root.exists():
        raise nothing_there(root)
    found = defaultdict(list)
    for path, row in rows:
        sample = RetrievalSample(path, row["identity"], row["camera"] or None)
        found[row["split"]].append(sample)
    shared = "test" in found
    if shared:
        found["query"] = found["gallery"] = found.pop("test")
    subsets = {name: tuple(found[name]) for name in ("train", "val", "query", "gallery")}
    kind = "folders" if root.is_dir() else "csv"
    return RetrievalLayout(root=root, kind=kind, shared=shared, **subsets).searching_layout()
