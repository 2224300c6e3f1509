"""A walk through folders at any depth, each real one once: links may lead in circles."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from covtool.errors import DataError, reason_of
from covtool.printable import printable

FolderId = tuple[int, int]
"""Device and inode of a folder."""


def is_hidden(name: str) -> bool:
    """Return whether the name is that of a hidden file or folder."""
    return name.startswith(".")


class FolderWalk:
    """The folders below a folder, by name.

    A link to a folder is followed, unless its files are found anyway: it leads to a folder that it
    lies in itself, to one below where the walk starts, or to one that was walked before.

    Args:
        start: Folder to begin with.
        skipped: Function of a folder's name that returns whether to skip it.

    Attributes:
        not_followed: Links that were not followed, as far as the walk has come.
    """

    def __init__(self, start: Path, skipped: Callable[[str], bool] = is_hidden) -> None:
        self.not_followed: list[Path] = []
        self._start, self._skipped = start, skipped
        self._seen: set[FolderId] = set()
        self._own: set[FolderId] | None = None

    def __iter__(self) -> Iterator[tuple[Path, list[str]]]:
        """Yield each folder, and the names of its files in order."""
        # By device and inode: the same folder may have many paths, through links and mounts.
        self._seen.add(_identity(self._start))
        for place, folders, files in os.walk(self._start, onerror=_refuse, followlinks=True):
            visible = sorted(name for name in folders if not self._skipped(name))
            # In place: `os.walk` goes on with what is left in its own list.
            folders[:] = [name for name in visible if self._is_new(Path(place, name))]
            yield Path(place), sorted(files)

    def _is_new(self, folder: Path) -> bool:
        identity = _identity(folder)
        found_anyway = folder.is_symlink() and (
            leads_back(folder, start=self._start) or identity in self._real_ones()
        )
        if found_anyway or identity in self._seen:
            self.not_followed += [folder] if folder.is_symlink() else []
            return False
        self._seen.add(identity)
        return True

    def _real_ones(self) -> set[FolderId]:
        """Return the folders that are reached without a link."""
        # Only for the first link: most data sets have none, and this is a second walk.
        if self._own is None:
            self._own = {_identity(self._start)}
            for place, folders, _ in os.walk(self._start):
                folders[:] = [name for name in folders if not self._skipped(name)]
                paths = (Path(place, name) for name in folders)
                self._own |= {_identity(path) for path in paths if not path.is_symlink()}
        return self._own


def leads_back(folder: Path, *, start: Path | None = None) -> bool:
    """Return whether a folder is a link to one that it lies in, or that `start` lies in."""
    if not folder.is_symlink():
        return False
    target = os.path.realpath(folder)
    inside = [os.path.realpath(place) for place in (folder.parent, start) if place is not None]
    return any(place == target or place.startswith(_with_slash(target)) for place in inside)


def _refuse(problem: OSError) -> None:
    raise unreadable_folder(problem)


def unreadable_folder(problem: OSError) -> DataError:
    """Build the error about a folder without permission: its images must not be left out."""
    place = printable(str(problem.filename))
    return DataError(f"The folder {place} cannot be read.", reason=reason_of(problem))


def _with_slash(folder: str) -> str:
    # So that /data/cars is not below /data/car.
    return folder if folder.endswith(os.sep) else folder + os.sep


def _identity(folder: Path) -> FolderId:
    state = folder.stat()
    return state.st_dev, state.st_ino
