"""What the files of a list are, asked of the system a folder at a time where that is less work.

A folder's own entries say which are files and which are links, where to ask for each file of a
million reads a million inodes.
"""

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import filterfalse, islice
from stat import S_ISLNK
from typing import NamedTuple

from covtool.data.datasets.image_paths import ImagePaths
from covtool.regular_files import is_regular

_FEWEST, _MOST = 8, 1 << 18
"""Paths in a folder from which on its entries are read, and entries that are held at most."""
_TIMES = 8
"""Entries are read up to so many times as many as there are paths."""


def all_are_files(paths: ImagePaths) -> bool:
    """Return whether each path leads to a regular file, perhaps by a link."""
    for folder, count, parts in paths.by_folder():
        entries, is_first = _entries(folder, count), True
        for _, names in parts:
            # The first one in any case: a folder may let its entries be seen and none be opened.
            looked_at = names[:1] if is_first else []
            looked_at += filterfalse(entries.files.__contains__, names)
            if not all(is_regular(folder + name) for name in looked_at):
                return False
            is_first = False
    return True


def links_among(paths: ImagePaths) -> Iterator[int]:
    """Yield the places of the paths that are links themselves.

    Raises:
        OSError: A path is not there.
    """
    for folder, count, parts in paths.by_folder():
        entries = _entries(folder, count)
        for places, names in parts:
            if entries.files.issuperset(names):
                continue
            for place, name in zip(places, names, strict=True):
                if name in entries.links or (
                    name not in entries.files and S_ISLNK(os.lstat(folder + name).st_mode)
                ):
                    yield place


class _Entries(NamedTuple):
    """Names of some entries of a folder, perhaps not of all.

    Attributes:
        files: Regular files.
        links: Links.
    """

    files: AbstractSet[str] = frozenset()
    links: AbstractSet[str] = frozenset()


def _entries(folder: str, count: int) -> _Entries:
    """Return a folder's files and links.

    Args:
        folder: The folder, with the separator at its end; "" for that of the process.
        count: Number of the paths in it.
    """
    if count < _FEWEST:
        return _Entries()
    try:
        with os.scandir(folder or os.curdir) as listed:
            entries = list(islice(listed, min(_TIMES * count, _MOST)))
            files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
            if len(files) == len(entries):
                return _Entries(files)
            return _Entries(files, {entry.name for entry in entries if entry.is_symlink()})
    except OSError:  # a folder may be closed to those who list it, and its files open
        return _Entries()
