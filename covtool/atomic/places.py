"""The place of an output: the file that a path leads to, or why none can be written there."""

import errno
import os
import stat
from pathlib import Path

from covtool.errors import ArgumentError, CovtoolError, SaveError, reason_of
from covtool.full_paths import is_working_folder_gone, working_folder_gone
from covtool.printable import printable
from covtool.regular_files import kind_of

MOST_LINKS = 40
"""Symbolic links that are followed one after the other, as Linux does."""

OPEN_FILES = "/proc"
"""Where the links of /dev/stdout and the like lead: to what a process has open already."""

MAKE_WRITABLE = "Choose another place, or make this one writable."


def place_of(path: Path) -> Path:
    """Return the regular file that an output is written to; it need not be there yet.

    A symbolic link is followed and stays as it is. Where it leads to nothing, the file that it
    names is made.

    Args:
        path: Path that the user named.

    Raises:
        ArgumentError: There is no folder for it, no file can have this name, or what is there is
            no file: a folder, device, pipe or socket.
    """
    try:
        return _place_of(path)
    except CovtoolError:
        raise
    except ValueError as problem:  # a NUL, or what the file system's encoding does not have
        raise ArgumentError(
            f"{printable(str(path))} cannot be written.",
            reason="No file can have this name.",
            hint="Choose another one.",
        ) from problem
    except OSError as problem:
        raise unwritable(path, problem) from problem


def require_replaceable(place: Path) -> None:
    """Refuse a file of another user where only its owner may replace it, as in /tmp.

    Raises:
        OSError: It is one, or the system does not answer.
    """
    if not place.exists() or not hasattr(os, "geteuid"):
        return
    folder = place.parent.stat()
    owners = (0, folder.st_uid, place.stat().st_uid)
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
        raise PermissionError(errno.EPERM, "Another user's file, which only its owner may replace")


def unwritable(path: Path, problem: OSError) -> ArgumentError:
    """Return what the system says about a place, before anything was computed for it."""
    if problem.errno == errno.ENOENT and is_working_folder_gone():
        return working_folder_gone(path)
    return ArgumentError(
        f"{path} cannot be written.",
        reason=reason_of(problem),
        hint=SaveError.of(path, problem).hint or MAKE_WRITABLE,
    )


def _place_of(path: Path) -> Path:
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        raise _refusal(path, mode)
    if _is_open_already(path):
        raise _not_a_file(path, "a name for what is open already")
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    if not place.parent.is_dir():
        raise ArgumentError(
            f"There is no folder {place.parent} to write to.",
            reason=None if place == path else f"That is where the link {path} leads.",
            hint="Make it first, or choose another place.",
        )
    return place


def _mode(path: Path) -> int | None:
    """Return kind and rights of what a path leads to; None where that is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_open_already(path: Path) -> bool:
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if f"{folder}/".startswith(f"{OPEN_FILES}/"):
            return True
        if not path.is_symlink():
            break
        path = Path(folder, path.readlink())
    return False


def _refusal(path: Path, mode: int) -> ArgumentError:
    if stat.S_ISDIR(mode):
        return ArgumentError(
            f"{path} is a folder.",
            reason="What is written is one file, and a folder is not replaced.",
            hint="Name a file, in that folder for example.",
        )
    return _not_a_file(path, kind_of(mode))


def _not_a_file(path: Path, kind: str) -> ArgumentError:
    return ArgumentError(
        f"{path} is {kind}, not a file.",
        reason="An output appears whole under its name, which only a file can do.",
        hint="Name a file, and read it from there.",
    )
