"""Folders that are made anew, and folders for a while."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covtool.atomic.endings import tidied_up_when_ended
from covtool.atomic.places import unwritable
from covtool.atomic.saving import saving
from covtool.atomic.staging import staging_folder, try_writing
from covtool.errors import ArgumentError, OutputExistsError, reason_of
from covtool.printable import printable


def make_way(folder: Path, *, overwrite: bool) -> None:
    """Remove a folder that is to be made anew, where that is allowed.

    Raises:
        ArgumentError: There is something else than a folder of its own: a file, or a link.
        OutputExistsError: There is such a folder, and `overwrite` is False.
        SaveError: It cannot be removed.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not overwrite:
        raise OutputExistsError(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise ArgumentError(
            f"{folder} is {'a link' if folder.is_symlink() else 'no folder'}.",
            reason="Only a folder is replaced by a folder.",
            hint="Remove it first, or choose another place.",
        )
    with saving(folder):
        shutil.rmtree(folder)


def require_folder(folder: Path) -> None:
    """Refuse a folder that could not be made or be written to, before anything is computed.

    Raises:
        ArgumentError: The system refuses, or no folder can have this name.
    """
    try:
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        try_writing(there / folder.name)
    except ValueError as problem:  # a NUL in the name, say
        raise unwritable(Path(printable(str(folder))), OSError(str(problem))) from problem
    except OSError as problem:
        raise unwritable(folder, problem) from problem


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those around it; remove those that are new and empty if the block fails.

    Raises:
        OSError: The system refuses.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """Yield a folder that exists during the block only, among the system's temporary files.

    Raises:
        ArgumentError: There is no such place.
        SaveError: It is full, or the block raised another OSError.
    """
    try:
        place = Path(tempfile.gettempdir(), name)
    except FileNotFoundError as problem:
        raise ArgumentError(
            "There is no folder for temporary files that can be written to.",
            reason=reason_of(problem),
            hint="Set TMPDIR to a folder that can, with room in it.",
        ) from problem
    with saving(place), tidied_up_when_ended(), staging_folder(place) as folder:
        yield folder
