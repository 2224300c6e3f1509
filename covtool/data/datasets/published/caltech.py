"""Caltech-101 and Caltech-256: class folders, one of which is not a class."""

from pathlib import Path

from covtool.data.datasets.folders.classes import folders_in, images_below
from covtool.data.datasets.found_images import FoundImages, counted
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec

BACKGROUND = ("BACKGROUND_Google", "257.clutter")


def read_caltech(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read all images but those of the background, which torchvision leaves out of Caltech-101.

    Raises:
        DataError: There are no images.
    """
    below = (root / f"{number}_ObjectCategories" for number in (101, 256))
    folder = next((place for place in below if place.is_dir()), root)
    images = {child.name: images_below(child) for child in folders_in(folder)}
    aside = {name: len(images.pop(name)) for name in BACKGROUND if name in images}
    found = [(path, name) for name, paths in images.items() for path in paths]
    if not found:
        raise DataError(f"There are no images in {folder}.")
    notes = [f"{name} is not a class: {counted(n, 'image')} left out." for name, n in aside.items()]
    return FoundImages(splits={"all": found}, notes=tuple(notes))
