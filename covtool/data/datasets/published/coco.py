"""Labels in the JSON of COCO and iNaturalist: images, annotations, categories."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from covtool.data.datasets.folders.names import UNSPLIT, implied_split
from covtool.data.datasets.found_images import FoundImages, Labeled, counted
from covtool.data.datasets.published.listing import read_json, required
from covtool.data.datasets.published.options import chosen_labels
from covtool.errors import DataError
from covtool.printable import printable
from covtool.regular_files import is_regular, opened
from covtool.specs.layout import LayoutSpec

LABELS = ("name", "supercategory")
KEYS = ("images", "annotations", "categories")
ROBOFLOW = "_annotations.coco.json"
LISTS = (
    "train20*.json",
    "val20*.json",
    "test20*.json",
    "train.json",
    "train_mini.json",
    "val.json",
    "test.json",
    "public_test.json",
    "annotations/*train*.json",
    "annotations/*val*.json",
    "annotations/*test*.json",
    f"train/{ROBOFLOW}",
    f"valid/{ROBOFLOW}",
    f"val/{ROBOFLOW}",
    f"test/{ROBOFLOW}",
)
OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
PEEKED = 1 << 16  # bytes


def is_coco(file: Path) -> bool:
    """Return whether a JSON file begins like such a list."""
    # The beginning alone: COCO's training list has 450 MB.
    with opened(file) as stream:
        begun = stream.read(PEEKED).decode(errors="replace")
    named = re.findall(r'"(info|images|annotations|categories|licenses)"\s*:\s*[\[{]', begun)
    return begun.lstrip().startswith("{") and bool(named)


def holds_coco(root: Path) -> bool:
    """Return whether a folder holds a list to train on."""
    return any(is_coco(file) for file in _lists(root) if _split_of(file) == "train")


def read_coco(root: Path, choice: LayoutSpec) -> FoundImages:
    """Read a list, or a folder with a list of each split.

    An image must have one category; with several, the data set is for detection.

    Raises:
        ArgumentError: There are no such labels.
        DataError: A list is damaged, an image has several categories or is not there.
    """
    asked = chosen_labels(choice, LABELS, root)
    if root.is_file():
        images, notes = _labeled(root, root.parent, asked)
        if not images:
            raise DataError(f"{root} has no annotations.", reason="They tell the classes.")
        return FoundImages(splits={implied_split(root.stem) or UNSPLIT: images}, notes=notes)
    splits, unlabeled, notes = {}, {}, []
    for file in _lists(root):
        split = _split_of(file)
        if split is None or split in splits:
            continue
        folder = file.parent if file.name == ROBOFLOW else root
        images, more = _labeled(file, folder, asked)
        if images:
            splits[split] = images
            notes += more
            unlabeled.pop(split, None)
        else:
            unlabeled[split] = f"{file} has no annotations"
    note = f"Labels: {asked} of the categories (--labels {'|'.join(LABELS)})."
    return FoundImages(splits=splits, unlabeled=unlabeled, notes=(note, *notes))


def _lists(root: Path) -> list[Path]:
    files = [file for pattern in LISTS for file in sorted(root.glob(pattern))]
    # COCO has lists of captions and key points beside those of the instances.
    return [file for file in files if not file.name.startswith(OTHER_TASKS)]


def _split_of(file: Path) -> str | None:
    return file.parent.name if file.name == ROBOFLOW else implied_split(file.stem)


def _labeled(file: Path, folder: Path, asked: str) -> tuple[list[Labeled], tuple[str, ...]]:
    listed = read_json(file)
    if not isinstance(listed, dict) or "images" not in listed:
        raise DataError(f"{file} does not have {', '.join(KEYS)}.")
    if not listed.get("annotations"):
        return [], ()
    try:
        names = _names(listed.get("categories") or (), asked)
        files = {image["id"]: image["file_name"] for image in listed["images"]}
        labels: dict[Any, set[str]] = {}
        for annotation in listed["annotations"]:
            label = names.get(annotation["category_id"], str(annotation["category_id"]))
            labels.setdefault(annotation["image_id"], set()).add(label)
        if not all(isinstance(name, str) for name in files.values()):
            raise TypeError("name of a file that is text")
    except (LookupError, TypeError, AttributeError) as problem:
        reason = f"No {printable(str(problem))}."
        raise DataError(f"{file} does not have COCO's format.", reason=reason) from problem
    several = sum(len(found) > 1 for found in labels.values())
    if several:
        raise DataError(
            f"{counted(several, 'image')} of {file} have several categories.",
            reason="Such data are for detection: an image does not have one class.",
            hint="Cut the boxes out into images, or list those with one class in a CSV file.",
        )
    # Checked on the first image alone: a million of them lie in the same folder.
    place = _images(file, folder, next(iter(files.values()), ""))
    unknown = labels.keys() - files.keys()
    if unknown:
        raise DataError(f"{file} annotates {counted(len(unknown), 'image')} that it does not list.")
    images = [(place / files[number], label) for number, (label,) in labels.items()]
    bare = len(files) - len(labels)
    notes = (f"{counted(bare, 'image')} of {file} without annotation left out.",) if bare else ()
    return required(file, images, place), notes


def _names(categories: Any, asked: str) -> dict[Any, str]:
    """Return names by id; with the id where two categories have the same."""
    names = {row["id"]: str(row.get(asked, row["name"])) for row in categories}
    many = Counter(names.values())
    if asked != "name":
        return names
    return {key: f"{key} {name}" if many[name] > 1 else name for key, name in names.items()}


def _images(file: Path, folder: Path, first: str) -> Path:
    """Return the folder that the names of the files are relative to."""
    below = ("", "images/", "data/", f"images/{file.stem}/", *_by_split(file))
    return next((folder / p for p in below if is_regular(folder / p / first)), folder)


def _by_split(file: Path) -> tuple[str, ...]:
    """Return the folders that the name of a list means: ``train2017/`` for its train list."""
    match = re.search(r"(train|val|test)[A-Za-z]*\d*", file.stem)
    if match is None:
        return ()
    names = {match[0], match[1]}
    return tuple(f"{place}{name}/" for name in sorted(names) for place in ("", "images/"))
