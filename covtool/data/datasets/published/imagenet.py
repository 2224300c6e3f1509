"""ImageNet as Kaggle and as the devkit give it, Tiny ImageNet, Imagenette's CSV file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from covtool.data.datasets.folders.classes import (
    by_outer_folder,
    folders_in,
    holds_images,
    images_below,
    loose_images,
)
from covtool.data.datasets.found_images import FoundImages, Labeled, LabeledPaths, counted
from covtool.data.datasets.lists.csv_file import opened_table
from covtool.data.datasets.lists.labeled import columns_of
from covtool.data.datasets.published.listing import (
    find_file,
    first_and_rest,
    first_file,
    lines_of,
    looked_up,
    read_mat,
    required,
)
from covtool.data.datasets.published.options import chosen_labels
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec

SOLUTION = "LOC_val_solution.csv"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKITS = ("", "data/", "devkit/data/", "ILSVRC2012_devkit_t12/data/", "devkit/")
IMAGES = ("", "ILSVRC/Data/CLS-LOC/", "Data/CLS-LOC/")


def holds_loose_validation(root: Path) -> bool:
    """Return whether the validation images are in one folder instead of a folder per class."""
    val = first_file(root, *(f"{place}val" for place in IMAGES))
    return val is not None and bool(loose_images(val))


def read_kaggle(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read ImageNet with the labels of ``val/`` in ``LOC_val_solution.csv``.

    Raises:
        DataError: The file lacks an image or is damaged, or there are no training images.
    """
    file, labels = root / SOLUTION, {}
    with opened_table(file, normalize=False) as (_, rows):
        for _, row in rows:
            if not row.get("ImageId") or not row.get("PredictionString"):
                raise DataError(f"{file} has a line without ImageId and PredictionString.")
            # Pairs of class and box in a row; all boxes of an image have its one class.
            labels[row["ImageId"]] = row["PredictionString"].split()[0]
    return _with_validation(root, labels, file)


def read_devkit(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read ImageNet with the labels of ``val/`` in the devkit, numbered in ``meta.mat``.

    Raises:
        DataError: There is no ``meta.mat``, or not as many labels as images.
    """
    file = find_file(root, *(place + TRUTH for place in DEVKITS))
    meta = file.parent / "meta.mat"
    if not meta.is_file():
        raise DataError(
            f"{file} numbers the classes in an order of its own.",
            reason=f"meta.mat defines it, and is not in {file.parent}.",
            hint="Put the meta.mat of the devkit there.",
        )
    (synsets,) = read_mat(meta, "synsets")
    wnids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in np.atleast_1d(synsets)}
    val = find_file(root, *(f"{place}val" for place in IMAGES))
    # Line n is the label of image n by name. ILSVRC2012_ID is not the sorted order of WordNet ids.
    images, numbers = loose_images(val), _numbers(file)
    if len(images) != len(numbers):
        raise DataError(f"{file} has {len(numbers)} labels, {val} {len(images)} images.")
    known = {str(number): wnid for number, wnid in wnids.items()}
    labels = {
        path.stem: looked_up(known, str(number), meta)
        for path, number in zip(images, numbers, strict=True)
    }
    return _with_validation(root, labels, file)


def _numbers(file: Path) -> list[int]:
    lines = lines_of(file)
    wrong = next((line for line in lines if not (line.isdecimal() and len(line) < 10)), None)
    if wrong is not None:
        raise DataError(f"{file} has a line that is not a number of a class: {printable(wrong)!r}.")
    return [int(line) for line in lines]


def read_tiny(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read Tiny ImageNet with the labels of ``val/images/`` in ``val/val_annotations.txt``.

    Raises:
        DataError: There are no training images, or an image is not there.
    """
    file, folder = root / "val" / "val_annotations.txt", root / "val" / "images"
    val = [(folder / name, rest.split()[0]) for name, rest in first_and_rest(file)]
    wnids = root / "wnids.txt"
    train = _training(root / "train", set(lines_of(wnids)) if wnids.is_file() else None)
    splits = {"train": train, "val": required(file, val, folder)}
    return FoundImages(splits=splits, unlabeled=_testing(root / "test"))


def is_noisy_list(file: Path) -> bool:
    """Return whether a CSV file is that of Imagenette and Imagewoof."""
    return {"path", "noisy_labels_0", "is_valid"} <= set(columns_of(file))


def read_noisy(file: Path, choice: LayoutSpec) -> FoundImages:
    """Read Imagenette and Imagewoof by their CSV file, with clean or noisy labels.

    Raises:
        ArgumentError: There are no such labels.
        DataError: A line is not a line of it, or an image is not there.
    """
    known = [name for name in columns_of(file) if name.startswith("noisy_labels_")]
    column = chosen_labels(choice, known, file)
    splits: dict[str, list[Labeled]] = {"train": [], "val": []}
    with opened_table(file) as (_, rows):
        for _, row in rows:
            # pandas wrote the flags, as Python's words.
            valid = {"True": "val", "False": "train"}.get(row["is_valid"] or "")
            if valid is None or not row[column] or not row["path"]:
                raise DataError(
                    f"{file}: {printable(str(row['path']))!r} has no {column} or is_valid."
                )
            splits[valid].append((file.parent / row["path"], row[column]))
    found = {split: required(file, images, file.parent) for split, images in splits.items()}
    return FoundImages(splits=found, notes=(f"Labels: {column} (--labels {'|'.join(known)}).",))


def _with_validation(root: Path, labels: Mapping[str, str], file: Path) -> FoundImages:
    place = next(root / p for p in IMAGES if (root / p / "val").is_dir())
    val = [(p, looked_up(dict(labels), p.stem, file)) for p in loose_images(place / "val")]
    splits = {"val": required(file, val, place / "val")}
    if (place / "train").is_dir():
        splits = {"train": _training(place / "train"), **splits}
    note = f"The labels of {place / 'val'} are those of {file.name}."
    return FoundImages(splits=splits, unlabeled=_testing(place / "test"), notes=(note,))


def _training(folder: Path, wnids: set[str] | None = None) -> LabeledPaths:
    classes = [f for f in folders_in(folder) if wnids is None or f.name in wnids]
    images = by_outer_folder({child.name: images_below(child) for child in classes})
    if not images:
        raise DataError(f"There are no images in the class folders of {folder}.")
    return images


def _testing(folder: Path) -> dict[str, str]:
    if not folder.is_dir() or not holds_images(folder):
        return {}
    count = counted(len(images_below(folder)), "image")
    return {folder.name: f"{folder} has {count} without labels"}
