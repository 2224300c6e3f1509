"""Images of a list that lie elsewhere than the list says the data set is."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from covtool.data.datasets.found_images import counted
from covtool.printable import printable


def note_on_outside(paths: Iterable[Path], folder: Path) -> Iterator[str]:
    """Yield what is worth knowing about images that are not below the folder of a data set.

    A list may name any file of the system, by an absolute path or with ``..``. That is allowed, and
    said. Links are not followed.

    Args:
        paths: Of the images.
        folder: Of the data set.
    """
    inside = os.path.normpath(folder)
    begin = "" if inside == os.curdir else inside.rstrip(os.sep) + os.sep
    outside = [path for path in map(os.fspath, paths) if not _is_below(path, begin)]
    if outside:
        count, verb = counted(len(outside), "image"), "lie" if len(outside) > 1 else "lies"
        yield f"{count} {verb} outside of {folder}, like {printable(outside[0])}."


def _is_below(path: str, begin: str) -> bool:
    if os.pardir in path or "//" in path or "/./" in path or not path.startswith(begin):
        path = os.path.normpath(path)
    climbs = not begin and (path.split(os.sep, 1)[0] == os.pardir or path.startswith(os.sep))
    return path.startswith(begin) and not climbs
