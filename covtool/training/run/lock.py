"""A folder that one process writes to at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from covtool.atomic import require_free
from covtool.errors import ArgumentError, reason_of
from covtool.run_files import LOCK

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder of a run; one that was killed does not.

    Raises:
        ArgumentError: Another process does so now, or the lock cannot be made.
    """
    with _open_lock(folder) as file:
        if fcntl is not None:
            try:  # the system lets go of the lock when the process ends, even by SIGKILL
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as problem:
                raise ArgumentError(
                    f"The run in {folder} is under way in another process.",
                    hint="Wait for it, or end it first.",
                ) from problem
            except OSError:  # a file system without locks
                pass
        yield


def unusable_place(folder: Path, name: str, problem: OSError) -> ArgumentError:
    """Return the error of something in a run's folder that cannot be written."""
    return ArgumentError(
        f"{folder / name} cannot be written.",
        reason=reason_of(problem),
        hint=f"Make room there, or make it writable; then go on with: --resume {folder}",
    )


def _open_lock(folder: Path) -> IO[str]:
    require_free(folder / LOCK, overwrite=True)  # a pipe in its place would be waited for
    try:
        return (folder / LOCK).open("a")  # a lock for writing needs a file open for it
    except OSError as problem:
        raise unusable_place(folder, LOCK, problem) from problem
