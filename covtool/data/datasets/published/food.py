"""Food-101: lists in JSON and in text."""

from pathlib import Path

from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.published.listing import find_file, lines_of, read_json, required
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec


def read_food(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read dishes by ``meta/train.json`` and ``test.json``, or by the text files of these names.

    Raises:
        DataError: A list is missing or damaged, or an image is not there.
    """
    splits = {}
    for split in ("train", "test"):
        file = find_file(root, f"meta/{split}.json", f"meta/{split}.txt")
        names = _names(file)
        images = [(root / "images" / f"{name}.jpg", name.partition("/")[0]) for name in names]
        splits[split] = required(file, images, root / "images")
    return FoundImages(splits=splits)


def _names(file: Path) -> list[str]:
    if file.suffix == ".txt":
        return lines_of(file)
    listed = read_json(file)
    if not isinstance(listed, dict) or not all(isinstance(n, list) for n in listed.values()):
        raise DataError(f"{file} does not list images by class.")
    return [str(name) for names in listed.values() for name in names]
