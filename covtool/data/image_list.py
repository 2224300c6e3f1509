"""The images of a run in a file: a resumed run keeps to them, whatever the folder holds by then."""

import csv
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from covtool.atomic import written_whole
from covtool.data.layouts import DataLayout, listed
from covtool.errors import DataError

COLUMNS = ("path", "label", "split", "left_out")


def write_image_list(file: Path, layout: DataLayout, left_out: Collection[Path]) -> None:
    """Write every image of a data set to a CSV file.

    Args:
        file: Replaced if it is there.
        layout: The data set; paths are written relative to its folder.
        left_out: Images of it that are not used.
    """
    with written_whole(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, samples in layout.splits.items():
            for sample in samples:
                path = os.path.relpath(sample.path, layout.folder)
                label, split = layout.class_names[sample.label], layout.called[key]
                writer.writerow((path, label, split, "yes" if sample.path in left_out else ""))


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
    found, left_out = defaultdict(list), set()
    folder = root.parent if root.suffix.lower() == ".csv" else root
    try:
        with file.open(encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text, strict=True):
                path = folder / row["path"]
                found[row["split"]].append((path, row["label"]))
                if row["left_out"]:
                    left_out.add(path)
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise DataError(f"{file} is damaged.", reason=reason) from problem
    return listed(root, found), frozenset(left_out)
