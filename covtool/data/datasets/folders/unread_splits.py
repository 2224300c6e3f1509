"""Splits of a folder that cannot be read, and lists that may define splits."""

from collections.abc import Collection, Iterator
from pathlib import Path

from covtool.data.datasets.folders.classes import folders_in, holds_images
from covtool.data.datasets.folders.names import (
    IMAGE_WORDS,
    PAPER_WORDS,
    TARGET_WORDS,
    exact_split,
    mentions_split,
)
from covtool.data.datasets.found_images import shown
from covtool.data.datasets.lists.beside import SUFFIXES

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def unread_splits(root: Path, taken: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield names of splits that are archives or dead links, and why they cannot be read.

    Args:
        root: The folder.
        taken: Splits that were read: ``train``, ``val``, ``test``.
    """
    for child in sorted(root.iterdir()):
        role = exact_split(child.name.split(".")[0])  # train.tar.gz has two suffixes
        if role is None or role in taken:
            continue
        if child.is_symlink() and not child.exists():
            yield child.name, f"{child} is a link that leads nowhere"
        elif child.is_file() and child.suffix.lower() in ARCHIVES:
            yield child.name, f"{child} is not unpacked"


def alike_folders(root: Path, splits: Collection[str], known: Collection[str]) -> list[Path]:
    """Return folders beside the splits that hold images in folders of known classes."""
    others = (child for child in folders_in(root) if child.name not in splits)
    return [
        folder
        for folder in others
        if any(child.name in known and holds_images(child) for child in folders_in(folder))
    ]


def note_on_lists(root: Path, place: Path) -> Iterator[str]:
    """Yield a note on lists beside class folders that may define splits and are not read.

    Args:
        root: The folder that was given.
        place: The folder with the class folders, `root` or below.
    """
    around = {root, place, place.parent} if place != root else {root}
    if root.name.lower() in IMAGE_WORDS:
        around.add(root.parent)
    words = PAPER_WORDS | TARGET_WORDS
    lists = {f for near in around for f in folders_in(near) if f.name.lower() in words}
    files = (file for folder in around | lists for file in folder.iterdir())
    found = [f for f in files if f.suffix.lower() in SUFFIXES and mentions_split(f.stem)]
    if found:
        yield f"Not read, though they may define splits: {shown(map(str, sorted(found)))}."
