"""CUB-200-2011 and NABirds: text files that number images and classes."""

from pathlib import Path

from covtool.data.datasets.found_images import FoundImages, Labeled
from covtool.data.datasets.published.listing import (
    boxed,
    find_file,
    first_and_rest,
    looked_up,
    names_and_boxes,
    required,
)
from covtool.errors import DataError
from covtool.printable import printable
from covtool.specs.layout import LayoutSpec

LABELS, SPLIT, BOXES = "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"


def read_birds(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read images by the files that number them; classes are numbered from 1, or by taxon.

    Raises:
        DataError: A file is missing or cut off, or an image is not there.
    """
    labels = dict(first_and_rest(find_file(root, LABELS)))
    train = dict(first_and_rest(find_file(root, SPLIT)))
    names = _class_names(root, set(labels.values()))
    splits: dict[str, list[Labeled]] = {"train": [], "test": []}
    numbers: dict[str, str] = {}  # by path: boxes are listed by the images' numbers
    for number, path in first_and_rest(find_file(root, "images.txt")):
        label = looked_up(labels, number, root / LABELS)
        split = {"1": "train", "0": "test"}.get(looked_up(train, number, root / SPLIT))
        if split is None:
            raise DataError(
                f"{root / SPLIT} says {printable(train[number])!r} for {number}, not 0 or 1."
            )
        image = root / "images" / path
        numbers[str(image)] = number
        splits[split].append((image, looked_up(names, label, root / "classes.txt")))
    found = {
        split: required(root / "images.txt", images, root / "images")
        for split, images in splits.items()
    }
    if choice.crop:
        boxes = _boxes(root, numbers)
        found = {split: boxed(images, boxes, root / BOXES) for split, images in found.items()}
    return FoundImages(splits=found)


def _class_names(root: Path, used: set[str]) -> dict[str, str]:
    """Return names by number, with the number where two classes have one name, as in NABirds."""
    names = dict(first_and_rest(find_file(root, "classes.txt")))
    # NABirds names all nodes of its tree; only leaves have images.
    every = [name for number, name in names.items() if number in used]
    twice = {name for name in every if every.count(name) > 1}
    return {n: f"{n} {name}" if name in twice else name for n, name in names.items()}


def _boxes(root: Path, numbers: dict[str, str]) -> dict[str, tuple]:
    file = find_file(root, BOXES)
    boxes = {
        number: (x, y, x + width, y + height)
        for number, (x, y, width, height) in names_and_boxes(file)
    }
    return {path: looked_up(boxes, number, file) for path, number in numbers.items()}
