"""Data sets of Oxford's Visual Geometry Group: Pets, Flowers-102, Describable Textures."""

from pathlib import Path

import numpy as np

from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.published.listing import (
    find_file,
    first_and_rest,
    first_file,
    lines_of,
    read_json,
    read_mat,
    required,
)
from covtool.data.datasets.published.options import chosen_labels, chosen_split
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec

PET_LABELS = ("breed", "species")
SPECIES = {"1": "cat", "2": "dog"}
TEXTURE_SPLITS = 10
FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}


def read_pets(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read breeds, or cat and dog, by ``annotations/trainval.txt`` and ``test.txt``.

    Raises:
        ArgumentError: There are no such labels.
        DataError: A list is missing or cut off, or an image is not there.
    """
    asked = chosen_labels(choice, PET_LABELS, root)
    splits = {}
    for split in ("trainval", "test"):
        file, images = find_file(root, f"annotations/{split}.txt"), []
        for name, rest in first_and_rest(file):
            cells = rest.split()
            if len(cells) < 2 or cells[1] not in SPECIES:
                raise DataError(f"{file}: {printable(name)!r} has no class and species.")
            # The number in the list counts breeds from 1; the file's name has the breed in words.
            label = SPECIES[cells[1]] if asked == "species" else name.rpartition("_")[0]
            images.append((root / "images" / f"{name}.jpg", label))
        splits["train" if split == "trainval" else split] = required(file, images, root / "images")
    return FoundImages(
        splits=splits, notes=(f"Labels: {asked} (--labels {'|'.join(PET_LABELS)}).",)
    )


def read_flowers(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read flowers by ``imagelabels.mat`` and ``setid.mat``, whose images and classes count from 1.

    The classes have no names there; those of ``cat_to_name.json`` are taken where it is.

    Raises:
        DataError: A file is missing or damaged, or an image is not there.
    """
    labels = np.atleast_1d(read_mat(find_file(root, "imagelabels.mat"), "labels")[0])
    names_file = first_file(root, "cat_to_name.json")
    names = read_json(names_file) if names_file else {}
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise DataError(f"{names_file} does not name classes.")
    file = find_file(root, "setid.mat")
    splits = {}
    sets = read_mat(file, *FLOWER_SPLITS.values())
    # As published: 1,020 images to train on and 6,149 to test on, though many swap the two.
    for split, numbers in zip(FLOWER_SPLITS, sets, strict=True):
        numbers = np.atleast_1d(numbers).astype(int)
        if numbers.min(initial=1) < 1 or numbers.max(initial=1) > len(labels):
            raise DataError(
                f"{file} has images {numbers.min()} to {numbers.max()}, of {len(labels)} with "
                "labels."
            )
        classes = [str(int(labels[number - 1])) for number in numbers]
        images = [root / "jpg" / f"image_{number:05}.jpg" for number in numbers]
        named = zip(images, (names.get(c, c) for c in classes), strict=True)
        splits[split] = required(file, named, root / "jpg")
    notes = () if names else ("Classes are numbers from 1; there is no cat_to_name.json.",)
    return FoundImages(splits=splits, notes=notes)


def read_textures(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read DTD by ``labels/train1.txt``, ``val1.txt`` and ``test1.txt``, or another of ten splits.

    Raises:
        ArgumentError: There is no split of that number.
        DataError: A list is missing, or an image is not there.
    """
    number = chosen_split(choice, TEXTURE_SPLITS, root)
    splits = {}
    for split in ("train", "val", "test"):
        file = find_file(root, f"labels/{split}{number}.txt")
        images = [(root / "images" / line, line.partition("/")[0]) for line in lines_of(file)]
        splits[split] = required(file, images, root / "images")
    note = f"Split {number} of {TEXTURE_SPLITS} (--data-split)."
    return FoundImages(splits=splits, notes=(note,))
