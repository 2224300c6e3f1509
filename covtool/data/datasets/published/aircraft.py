"""FGVC-Aircraft: variants, families and manufacturers."""

from pathlib import Path

from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.published.listing import (
    boxed,
    find_file,
    first_and_rest,
    first_file,
    names_and_boxes,
    required,
    with_suffix,
)
from covtool.data.datasets.published.options import chosen_labels
from covtool.specs.layout import LayoutSpec

LEVELS = ("variant", "family", "manufacturer")
SPLITS = ("train", "val", "test")


def read_aircraft(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read images by ``images_variant_train.txt`` and lists like it; see `LEVELS`.

    Raises:
        ArgumentError: There is no such level.
        DataError: A list is missing, or an image is not there.
    """
    level = chosen_labels(choice, LEVELS, root)
    root = root if first_file(root, *_lists(level, SPLITS)) else root / "data"
    splits = {}
    for split in SPLITS:
        names = _lists(level, (split, "trainval") if split == "train" else (split,))
        file = find_file(root, *names) if split != "val" else first_file(root, *names)
        if file is None:
            continue
        images = [(with_suffix(root / "images" / n), label) for n, label in first_and_rest(file)]
        splits[split] = required(file, images, root / "images")
    if choice.crop:
        boxes = _boxes(find_file(root, "images_box.txt"), root / "images")
        file = root / "images_box.txt"
        splits = {split: boxed(images, boxes, file) for split, images in splits.items()}
    return FoundImages(splits=splits, notes=(f"Labels: {level} (--labels {'|'.join(LEVELS)}).",))


def _lists(level: str, splits: tuple[str, ...]) -> list[str]:
    return [f"images_{level}_{split}.txt" for split in splits]


def _boxes(file: Path, folder: Path) -> dict[str, tuple]:
    return {
        str(with_suffix(folder / name)): (
            left - 1,
            upper - 1,
            right,
            lower,
        )  # they count from 1
        for name, (left, upper, right, lower) in names_and_boxes(file)
    }
