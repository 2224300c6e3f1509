"""What the files of a list are, asked of the system a folder at a time where that is less work.

A folder's own entries say which are files and which are links, where to ask for each file of a
million reads a million inodes.
"""

import os
from collections.abc import Iterator
from itertools import chain, islice
from stat import S_ISLNK

from covtool.data.datasets.image_paths import ImagePaths
from covtool.regular_files import is_regular

_FEWEST, _MOST = 8, 1 << 18
"""Paths in a folder from which on its entries are read, and entries that are held at most."""
_TIMES = 8
"""Entries are read up to so many times as many as there are paths."""


def all_are_files(paths: ImagePaths) -> bool:
    """Return whether each path leads to a regular file, perhaps by a link."""
    for folder, count, parts in paths.by_folder():
        entries = _entries(folder, count)
        for place, name in enumerate(name for _, names in parts for name in names):
            # The first one in any case: a folder may let its entries be seen and none be opened.
            is_known = place > 0 and entries.get(name) is False
            if not is_known and not is_regular(folder + name):
                return False
    return True


def links_among(paths: ImagePaths) -> Iterator[int]:
    """Yield the places of the paths that are links themselves.

    Raises:
        OSError: A path is not there.
    """
    for folder, count, parts in paths.by_folder():
        entries = _entries(folder, count)
        for place, name in chain.from_iterable(zip(*part, strict=True) for part in parts):
            is_link = entries.get(name)
            if is_link is None:
                is_link = S_ISLNK(os.lstat(folder + name).st_mode)
            if is_link:
                yield place


def _entries(folder: str, count: int) -> dict[str, bool]:
    """Return a folder's files and links by name, and whether each is a link; perhaps not of all.

    Args:
        folder: The folder, with the separator at its end; "" for that of the process.
        count: Number of the paths in it.
    """
    if count < _FEWEST:
        return {}
    try:
        with os.scandir(folder or os.curdir) as listed:
            return {
                entry.name: entry.is_symlink()
                for entry in islice(listed, min(_TIMES * count, _MOST))
                if entry.is_symlink() or entry.is_file(follow_symlinks=False)
            }
    except OSError:  # a folder may be closed to those who list it, and its files open
        return {}
