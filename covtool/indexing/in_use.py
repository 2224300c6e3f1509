"""The lock on an index that is being changed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from covtool.errors import DataError
from covtool.regular_files import opened

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module's type has no None


@contextmanager
def index_in_use(path: Path) -> Iterator[None]:
    """Keep other commands from changing an index meanwhile; one that was killed does not.

    The lock is on the file itself, and nothing is left behind. A file that is not there, or cannot
    be read, is not locked.

    Raises:
        DataError: Another command changes it now.
    """
    with ExitStack() as held:
        if fcntl is not None:
            _lock(path, held)
        yield


def _lock(path: Path, held: ExitStack) -> None:
    while True:
        try:
            file = held.enter_context(opened(path))
        except OSError:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise DataError(
                f"{path} is being changed by another command.",
                hint="Wait until that has ended, then give this one again.",
            ) from problem
        except OSError:  # a file system without locks
            return
        # It may have been replaced between the two calls: then the lock is on the old file.
        if _is_at(path, file.fileno()):
            return


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
