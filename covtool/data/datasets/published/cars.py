"""Stanford Cars: annotations of MATLAB, in both forms in which they were published."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from covtool.data.datasets.found_images import FoundImages, Labeled
from covtool.data.datasets.published.listing import first_file, read_mat, required
from covtool.data.images.boxed import BoxedImage
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec

TRAIN, TEST, META = "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"
PLACES = ("", "devkit/", "car_devkit/devkit/", "cars_annos/")


def read_car_folders(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read ``cars_train/`` and ``cars_test/`` by the devkit's annotations; classes count from 1.

    The annotations of the test images that come with the devkit have no labels.

    Raises:
        DataError: A file is damaged, or an image is not there.
    """
    names = _names(root)
    splits, unlabeled = {}, {}
    for split, file_name in (("train", TRAIN), ("test", TEST)):
        file, folder = _found(root, file_name), _images(root, split)
        if file is None:
            unlabeled[split] = f"{folder} has no labels: they are in {file_name}, which is missing"
            continue
        (annotations,) = read_mat(file, "annotations")
        rows = np.atleast_1d(annotations)
        splits[split] = _labeled(file, folder, rows, "fname", names, choice)
    if "train" not in splits:
        raise DataError(f"{root} has no {TRAIN}.", hint="It is in the devkit of Stanford Cars.")
    notes = () if names else ("Classes are numbers from 1, since there is no cars_meta.mat.",)
    return FoundImages(splits=splits, unlabeled=unlabeled, notes=notes)


def read_car_list(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read ``car_ims/`` by ``cars_annos.mat``, which has all images with a flag for testing.

    Raises:
        DataError: The file is damaged, or an image is not there.
    """
    file = _found(root, "cars_annos.mat")
    annotations, names = read_mat(file, "annotations", "class_names")
    # A file of one image has no axis left, see `variables_of`.
    rows, names = np.atleast_1d(annotations), [str(name) for name in np.atleast_1d(names)]
    path = _field(rows, "relative_im_path", "fname")
    is_test = np.array([bool(row["test"]) for row in rows])
    return FoundImages(
        splits={
            split: _labeled(file, root, rows[chosen], path, names, choice)
            for split, chosen in (("train", ~is_test), ("test", is_test))
        }
    )


def _found(root: Path, name: str) -> Path | None:
    return first_file(root, *(place + name for place in PLACES))


def _images(root: Path, split: str) -> Path:
    """Return the folder of a split, ``cars_train/`` or ``cars_train/cars_train/``."""
    folder = root / f"cars_{split}"
    return folder / folder.name if (folder / folder.name).is_dir() else folder


def _names(root: Path) -> list[str]:
    file = _found(root, META)
    return [str(name) for name in np.atleast_1d(read_mat(file, "class_names")[0])] if file else []


def _labeled(
    file: Path,
    folder: Path,
    rows: Iterable[Any],
    path: str,
    names: list[str],
    choice: LayoutSpec,
) -> list[Labeled]:
    rows = list(rows)
    # An annotation may lack a field or hold an array: each cell is converted before it is used.
    try:
        numbers = [int(row["class"]) for row in rows]
        images = [folder / str(row[path]) for row in rows]
        edges = [[float(row[e]) for e in _box_fields(row)] for row in rows] if choice.crop else []
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as problem:
        reason = printable(str(problem))
        raise DataError(f"{file} has annotations without class.", reason=reason) from problem
    if names and not all(1 <= number <= len(names) for number in numbers):
        raise DataError(f"{file} has other classes than 1 to {len(names)}, which are named.")
    labels = [names[number - 1] if names else str(number) for number in numbers]
    found = required(file, zip(images, labels, strict=True), folder)
    if not choice.crop:
        return found
    return [(BoxedImage(p, tuple(box)), c) for (p, c), box in zip(found, edges, strict=True)]


def _box_fields(row: Any) -> tuple[str, ...]:
    # Where they have other names, the edges are the first four fields.
    named = tuple(f"bbox_{edge}" for edge in ("x1", "y1", "x2", "y2"))
    return named if named[0] in row.dtype.names else tuple(row.dtype.names[:4])


def _field(rows: np.ndarray, *names: str) -> str:
    return next((name for name in names if name in (rows.dtype.names or ())), names[0])
