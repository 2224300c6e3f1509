"""Paths that a pattern matches, in order and one at a time: of millions none waits in memory."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from covtool.data.datasets.folder_walk import FolderWalk, is_hidden
from covtool.data.datasets.places import is_pattern
from covtool.errors import DataError, reason_of

DEEP = "**"


def matched(pattern: str) -> Iterator[str]:
    """Yield the files that a pattern matches, each folder by name.

    ``*``, ``?`` and ``[]`` match within a name, ``**`` any folders. Hidden names are matched only
    where the pattern says the dot.

    Args:
        pattern: Pattern of paths, as ``photos/**/*.jpg``.

    Raises:
        DataError: It has ``**`` twice, which would give files twice, or a folder cannot be read.
    """
    parts = Path(pattern).parts
    if parts.count(DEEP) > 1:
        raise DataError(
            f"The pattern {pattern} has {DEEP} more than once.",
            hint="Leave all but the first out: it matches folders at any depth.",
        )
    fixed = next(number for number, part in enumerate(parts) if is_pattern(part))
    yield from _below(os.path.join(*parts[:fixed]) if fixed else "", parts[fixed:])  # noqa: PTH118


def _below(place: str, parts: Sequence[str]) -> Iterator[str]:
    # Texts, not paths: what is yielded begins as the user wrote it.
    if not parts:
        # A link that leads nowhere as well: it is an image that cannot be read, and not nothing.
        if os.path.isfile(place) or not os.path.exists(place):  # noqa: PTH110, PTH113
            yield place
        return
    if parts[0] == DEEP:  # links in circles are the walk's business
        start = Path(place or os.curdir)
        if start.is_dir():
            for folder, _ in FolderWalk(start):
                inner = "" if folder == start else str(folder.relative_to(start))
                yield from _below(os.path.join(place, inner) if inner else place, parts[1:])  # noqa: PTH118
        return
    for name in _names_in(place or os.curdir):
        if fnmatchcase(name, parts[0]) and is_hidden(name) <= is_hidden(parts[0]):
            yield from _below(os.path.join(place, name), parts[1:])  # noqa: PTH118


def _names_in(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as problem:
        raise DataError(f"{folder} cannot be read.", reason=reason_of(problem)) from problem
