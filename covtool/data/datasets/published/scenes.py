"""Places365 and SUN397: scenes with names like ``/a/abbey``."""

from pathlib import Path

from covtool.data.datasets.folders.classes import images_below
from covtool.data.datasets.found_images import FoundImages, Labeled
from covtool.data.datasets.published.listing import (
    find_file,
    first_file,
    lines_of,
    looked_up,
    required,
    rest_and_last,
)
from covtool.data.datasets.published.options import chosen_split
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec

PLACES_LISTS = ("", "filelist_places365-standard/", "filelist_places365-challenge/")
PLACES_TRAIN = ("places365_train_standard.txt", "places365_train_challenge.txt")
PLACES_FOLDERS = {
    "train": ("data_256_standard", "data_256", "data_large_standard", "data_large", "train_256"),
    "val": ("val_256", "val_large", "val"),
}
SUN_SPLITS = 10
PARTITIONS = ("", "Partitions/", "partitions/", "../Partitions/")


def read_places(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read Places365 by its lists, whose labels count from 0 in ``categories_places365.txt``.

    Raises:
        DataError: A list or a folder is missing, or an image is not there.
    """
    categories = _list(root, ("categories_places365.txt",))
    names = {number: scene(name) for name, number in rest_and_last(categories)}
    splits = {}
    for split, lists in (("train", PLACES_TRAIN), ("val", ("places365_val.txt",))):
        folder, file = find_file(root, *PLACES_FOLDERS[split]), _list(root, lists)
        splits[split] = required(
            file,
            (
                (folder / path.lstrip("/"), looked_up(names, label, categories))
                for path, label in rest_and_last(file)
            ),
            folder,
        )
    return FoundImages(splits=splits)


def read_sun(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read SUN397 by ``Training_01.txt`` and ``Testing_01.txt`` or another of ten, else whole.

    Raises:
        ArgumentError: There is no split of that number.
        DataError: A list or an image is missing.
    """
    folder = root / "SUN397" if (root / "SUN397").is_dir() else root
    number = chosen_split(choice, SUN_SPLITS, root)
    names = {split: f"{split}ing_{number:02}.txt" for split in ("Train", "Test")}
    files = {split: _partition(root, folder, name) for split, name in names.items()}
    if not any(files.values()):  # the images and the lists are two downloads
        if choice.data_split:
            raise DataError(f"{root} has no {' and no '.join(names.values())}.")
        note = "All images: the lists of its ten splits, Training_01.txt and on, are not there."
        return FoundImages(splits={"all": _all_scenes(folder)}, notes=(note,))
    missing = [names[split] for split, file in files.items() if file is None]
    if missing:
        raise DataError(f"{root} has no {missing[0]}, which belongs to the other list.")
    note = f"Split {number} of {SUN_SPLITS} (--data-split)."
    splits = {}
    for split, file in files.items():
        images = [(folder / p.lstrip("/"), scene(p.rpartition("/")[0])) for p in lines_of(file)]
        splits[split.lower()] = required(file, images, folder)
    return FoundImages(splits=splits, notes=(note,))


def scene(name: str) -> str:
    """Return the name of a class without the letter that it is filed under.

    Example:
        >>> scene("/a/apartment_building/outdoor")
        'apartment_building/outdoor'
    """
    letter, _, rest = name.strip("/").partition("/")
    return rest if len(letter) == 1 and rest else name.strip("/")


def _list(root: Path, names: tuple[str, ...]) -> Path:
    places = [place + name for name in names for place in PLACES_LISTS]
    return first_file(root, *places) or find_file(root, *names)


def _partition(root: Path, folder: Path, name: str) -> Path | None:
    return first_file(root, *(place + name for place in PARTITIONS)) or first_file(folder, name)


def _all_scenes(folder: Path) -> list[Labeled]:
    file = find_file(folder, "ClassName.txt")
    images = [
        (path, scene(name))  # a name begins with a slash, as an absolute path would
        for name in lines_of(file)
        for path in images_below(folder / name[1:])
    ]
    return required(file, images, folder)
