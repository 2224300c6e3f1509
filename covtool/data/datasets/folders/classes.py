"""Folders with images, and the decision whether they are classes."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from covtool.data.datasets.folder_walk import FolderWalk, leads_back, unreadable_folder
from covtool.data.datasets.folders.names import (
    IMAGE_WORDS,
    TARGET_WORDS,
    are_pieces,
    is_left_over,
    is_no_class,
    is_split_alone,
    words_in,
)
from covtool.data.datasets.found_images import LabeledPaths, counted, shown
from covtool.data.datasets.image_paths import ImagePaths
from covtool.data.datasets.lists.beside import lists_beside
from covtool.data.images.decoding import is_image, is_image_name
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec

Images = Mapping[str, ImagePaths]
"""The images of each class folder, at any depth."""


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder by name, without hidden ones and leftovers of programs."""
    try:
        found = [child for child in folder.iterdir() if not is_left_over(child.name)]
        return sorted(child for child in found if child.is_dir() and not leads_back(child))
    except PermissionError as problem:
        raise unreadable_folder(problem) from problem


def images_below(folder: Path) -> ImagePaths:
    """Return every image at any depth, by name, without hidden files and folders."""
    return ImagePaths.in_folders(_images_below(folder))


def holds_images(folder: Path) -> bool:
    """Return whether there is an image at any depth."""
    return any(names for _, names in _images_below(folder))


def loose_images(folder: Path) -> list[Path]:
    """Return the images in a folder itself, by name."""
    return sorted(child for child in folder.iterdir() if is_image(child) and child.is_file())


def look_through(folder: Path, known: Collection[str] = ()) -> Path:
    """Follow folders that hold nothing but another folder, down to the one with the data.

    Archives are unpacked to ``data/data/``, and pictures are put below ``images/``.

    Args:
        folder: Folder to begin with.
        known: Names of classes; a folder of such a name is not left.
    """
    place = folder
    while (only := _only_folder(place)) is not None and only.name not in known:
        place = only
    return place


def refuse_no_classes(folder: Path, names: Collection[str], known: Collection[str] = ()) -> None:
    """Refuse folders whose names are words for parts of a data set, not for classes.

    Args:
        folder: Folder that they are in.
        names: Names of those with images.
        known: Names of classes, whatever words they are.

    Raises:
        DataError: ``images/`` alone, or beside ``masks/``.
    """
    if why := why_no_classes(folder, names, known):
        lists = lists_beside([folder])
        raise DataError(
            f"{folder} {why}.",
            reason="A class is a folder that is called by what is on its images."
            + (f" There may be labels in {lists}." if lists else ""),
            hint="Give each class a folder, or list the images in a CSV file with the columns "
            "path,label,split.",
        )


def why_no_classes(folder: Path, names: Collection[str], known: Collection[str] = ()) -> str | None:
    """Return why folders of such names are no classes; None where they may be some."""
    words = sorted(name for name in names if is_no_class(name))
    ordinary = len(names) - len(words)
    if not set(names).isdisjoint(known):  # a class may be called "depth" or "part"
        return None
    if len(names) > 1 and are_pieces(names):
        return f"has folders with images that are its pieces, not classes: {shown(sorted(names))}"
    if not words:
        return None
    if len(names) == 1:
        others = (child.name for child in folders_in(folder) if child.name != words[0])
        beside = [name for name in others if not TARGET_WORDS.isdisjoint(words_in(name))]
        also = f" (beside {', '.join(beside)})" if beside else ""
        return f"has one folder with images, {words[0]!r}{also}, that is not a class"
    lower = {word for name in words for word in (name.lower(), *words_in(name))}
    if lower & IMAGE_WORDS and (lower & TARGET_WORDS or not ordinary) and ordinary < 2:
        return f"has folders with images that are not classes: {shown(words)}"
    return None


def in_classes(folder: Path, images: Images, choice: LayoutSpec) -> LabeledPaths:
    """Return images with the names of their classes.

    Args:
        folder: Folder that the class folders are in.
        images: Images of each class folder.
        choice: Options with the folders that are classes, outer or inner ones, if given.

    Raises:
        DataError: The folders of the images are in other folders, and either may be the classes.
    """
    inner = _inner(folder, images)
    if choice.class_folders is None and inner is not None and not _are_parts(inner):
        raise _ambiguous(folder, inner)
    if choice.class_folders != "inner":
        return by_outer_folder(images)
    shared = inner is not None and _are_shared(inner)
    labels = [
        np.array(_below(paths, folder / name if shared else folder), object)[paths.folder]
        for name, paths in images.items()
        if len(paths)
    ]
    every = ImagePaths.joined(list(images.values()))
    return LabeledPaths.of(every, (label for part in labels for label in part))


def by_outer_folder(images: Images) -> LabeledPaths:
    """Return images with the names of the folders that they are given by."""
    numbers = np.repeat(np.arange(len(images)), [len(paths) for paths in images.values()])
    return LabeledPaths(ImagePaths.joined(list(images.values())), tuple(images), numbers)


def _below(paths: ImagePaths, folder: Path) -> list[str]:
    """Return the folders of images as they are called from a folder above."""
    return [Path(own).relative_to(folder).as_posix() for own in paths.folders]


def note_on_parts(folder: Path, images: Images, choice: LayoutSpec) -> str | None:
    """Return a note on the folders that are taken for classes, where there are others below."""
    inner = _inner(folder, images)
    if choice.class_folders is not None or inner is None:
        return None
    outer = counted(len(inner), "folder")
    below = counted(sum(map(len, inner.values())), "folder")
    return f"The {outer} of {folder} are the classes, not the {below} in them."


def _ambiguous(folder: Path, inner: Mapping[str, set[str]]) -> DataError:
    shared, outer = _are_shared(inner), len(inner)
    names = sorted(
        {
            below if shared else f"{name}/{below}"
            for name, belows in inner.items()
            for below in belows
        }
    )
    count = len(names)
    places = sum(map(len, inner.values()))
    return DataError(
        f"All images of {folder} lie deeper than its {counted(outer, 'folder')}: "
        f"in {places:,} folders below.",
        reason=f"There are {counted(outer, 'class')} ({shown(inner, 3)}) or {count:,} "
        f"({shown(names, 3)}).",
        hint=f"Say which: --class-folders inner for the {count:,}, --class-folders outer for the "
        f"{outer:,}.",
    )


def _inner(folder: Path, images: Images) -> dict[str, set[str]] | None:
    """Return the folders of the images by class folder; None where there is no choice."""
    inner = {
        name: set(_below(paths, folder / name)) for name, paths in images.items() if len(paths)
    }
    # An image directly in a class folder decides it: that folder is the class.
    direct = any("." in belows for belows in inner.values())
    more = sum(map(len, inner.values())) > len(inner)
    return inner if more and not direct and len(inner) > 1 else None


def _are_parts(inner: Mapping[str, set[str]]) -> bool:
    """Return whether all inner folders have names of parts, like ``images`` and ``crops``."""
    return all(is_no_class(Path(below).name) for belows in inner.values() for below in belows)


def _are_shared(inner: Mapping[str, set[str]]) -> bool:
    """Return whether all inner names occur twice or more, as classes do below domains."""
    every = Counter(below for belows in inner.values() for below in belows)
    return min(every.values()) > 1


def _only_folder(folder: Path) -> Path | None:
    if loose_images(folder):
        return None
    found: list[Path] = []
    for child in folders_in(folder):
        if holds_images(child):
            found.append(child)
        if len(found) > 1:  # at the second one: looking into all may take minutes
            return None
    if not found:
        return None
    if found[0].name == folder.name:  # unpacked into a folder of its own name
        return found[0]
    if is_split_alone(found[0].name) or loose_images(found[0]):
        return None
    below = [child for child in folders_in(found[0]) if holds_images(child)]
    deeper = len(below) > 1 or is_split_alone(below[0].name) or _only_folder(found[0])
    return found[0] if deeper else None


def _images_below(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for place, names in FolderWalk(folder, is_left_over):
        yield place, list(filter(is_image_name, names))
