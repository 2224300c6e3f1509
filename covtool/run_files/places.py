"""The place of a run's folder: refused early where it cannot be written, made at the start."""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from covtool.atomic.folders import made_folder, require_folder
from covtool.errors import ArgumentError, reason_of
from covtool.printable import printable
from covtool.run_files import EXPORTED, STATES

FOLDERS = (STATES, EXPORTED)


def require_run_place(output: Path, command: str, name: str | None) -> None:
    """Refuse a place where no run can be written, before anything is computed for one.

    Args:
        output: Folder for runs.
        command: Command that makes the run.
        name: Name of the run, where one was chosen.

    Raises:
        ArgumentError: Its folder cannot be made or not be written to, or `name` is not a folder's.
    """
    if name:
        _require_name(name)
    try:
        require_folder(output / command)
    except ArgumentError as problem:
        raise problem.with_hint(f"{problem.hint} --output names the folder.") from problem


def make_run_folder(
    output: Path, command: str, name: str, *, folders: Sequence[str] = FOLDERS
) -> Path:
    """Make ``<output>/<command>/<name>``, or ``<name>-2`` and so on where that exists.

    Args:
        output: Folder for runs.
        command: Command that makes the run.
        name: Name of the run.
        folders: Folders in it.

    Raises:
        ArgumentError: The folder cannot be made, or `name` is not a folder's.
    """
    parent = output / command
    _require_name(name)
    try:
        with made_folder(parent):
            return _made_whole(parent, name, folders)
    except (OSError, ValueError) as problem:
        raise unwritable_run(parent, problem) from problem


def unwritable_run(folder: Path, problem: Exception) -> ArgumentError:
    """Return the error of a folder that the system does not let a run write to."""
    return ArgumentError(
        f"The run cannot be written to {printable(str(folder))}.",
        reason=reason_of(problem),
        hint="Choose another place with --output, or make this one writable.",
    )


def _require_name(name: str) -> None:
    try:
        with suppress(FileNotFoundError):
            os.lstat(name)  # asks the system, which knows what a name may be
    except (OSError, ValueError) as problem:
        raise ArgumentError(
            f"{printable(name)} cannot be the name of a run.",
            reason=f"{getattr(problem, 'strerror', None) or 'No folder can have this name'}.",
        ) from problem
    if name == ".." or Path(name).name != name:  # `Path("..").name` is ".."
        raise ArgumentError(
            f"{printable(name)} cannot be the name of a run, which is that of a folder.",
            hint="Choose the folder with --output, and a name without slashes.",
        )


def _made_whole(parent: Path, name: str, folders: Sequence[str]) -> Path:
    path = _first_free(parent, name)
    try:
        for folder in folders:
            (path / folder).mkdir()
    except BaseException:  # Ctrl-C as well: half a folder would look like a run
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def _first_free(parent: Path, name: str) -> Path:
    number = 1
    while True:  # `mkdir` decides: another run may take a name between a look and the making
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path
