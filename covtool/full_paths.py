"""Paths in full, also where the working folder has been deleted."""

import os
from pathlib import Path

from covtool.errors import ArgumentError
from covtool.printable import printable


def in_full(path: str | Path) -> Path:
    """Return a path in full, every link followed; it ends where links go in a circle.

    Raises:
        ArgumentError: It is relative, and the working folder has been deleted; or no file can have
            this name.
    """
    try:
        # Not `Path.resolve`, which raises where links go in a circle.
        return Path(os.path.realpath(path))
    except FileNotFoundError as problem:
        raise working_folder_gone(path) from problem
    except ValueError as problem:  # a NUL, or what the file system's encoding does not have
        raise ArgumentError(f"No file can be called {printable(str(path))}.") from problem


def absolute(path: Path) -> Path:
    """Return a path in full, its links as they are.

    Raises:
        ArgumentError: It is relative, and the working folder has been deleted.
    """
    try:
        return path.absolute()
    except FileNotFoundError as problem:
        raise working_folder_gone(path) from problem


def relative_name(path: str | Path, folder: str | Path) -> str:
    """Return a path as seen from a folder, with ``/`` between names on every system.

    What is written to a file, or hashed, must not depend on the system that does so.
    """
    name = os.path.relpath(path, folder)
    return name if os.sep == "/" else name.replace(os.sep, "/")


def is_working_folder_gone() -> bool:
    """Return whether the folder that this process works in has been deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def working_folder_gone(path: str | Path) -> ArgumentError:
    """Build the error about a relative path without a working folder."""
    return ArgumentError(
        f"{printable(str(path))} leads nowhere: the working folder has been deleted.",
        hint="Change to one that exists, or give the whole path.",
    )
