"""Locks between processes: a lock file, by the means of the system it is on.

The lock is filelock's: `flock` on Linux and macOS, `LockFileEx` on Windows. Both are let go of when
the process ends, even by SIGKILL, and a forked child does not keep them. What is locked is always a
file of its own: Windows would not let others read, nor replace, a locked file.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

_OPENING = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""As filelock opens it: no link is followed, and no pipe waited for."""

_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""Numbers of the error that a file system without locks gives."""


class HeldLock:
    """A lock file that this process has opened.

    Attributes:
        path: The lock file.
        is_held: Whether the lock is held; None where the file system has no locks.
    """

    def __init__(self, path: Path, lock: "BaseFileLock | None") -> None:
        self.path, self._lock = path, lock
        self.is_held = None if lock is None else True

    def release(self, *, remove: bool = False) -> None:
        """Let go of the lock.

        Args:
            remove: Whether the lock file goes as well. One that another process waits for at that
                moment is noticed by it to be gone, and made again.
        """
        if remove:
            # Before it is let go of: afterwards it may be another's. Windows refuses to remove an
            # open file; there filelock removes it, once it is closed.
            with suppress(OSError):
                self.path.unlink()
        if self._lock is not None:
            self._lock.release()


def take_lock(path: Path, *, wait: bool = False) -> HeldLock | None:
    """Open a lock file, make it where there is none, and lock it.

    Args:
        path: The lock file; its folder exists.
        wait: Whether to wait until no other process holds the lock.

    Returns:
        The lock; None where another process, or this one, holds it.

    Raises:
        OSError: The file cannot be made, cannot be written to, or cannot be locked though its file
            system has locks.
    """
    from filelock import FileLock, Timeout  # late: a quarter of a second, and few commands write

    # By ourselves: an error of this is one of the place, an error of the lock one of its system.
    os.close(os.open(path, _OPENING, 0o666))
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    except NotImplementedError:
        return HeldLock(path, None)
    except OSError as problem:
        if problem.errno in _WITHOUT_LOCKS or not _is_reachable(path):
            return HeldLock(path, None)
        raise
    return HeldLock(path, lock)


def _is_reachable(path: Path) -> bool:
    """Return whether a file is found from the root on, as filelock goes: a folder may be closed."""
    try:
        path.absolute().stat()
    except OSError:
        return False
    return True


@contextmanager
def locked_file(path: Path, *, wait: bool = False, remove: bool = False) -> Iterator[bool | None]:
    """Hold a lock during the block; see `take_lock`.

    Args:
        path: The lock file.
        wait: Whether to wait until no other process holds the lock.
        remove: Whether the lock file goes after the block.

    Yields:
        Whether the lock is held: False where another process holds it, None where the file system
        has no locks.

    Raises:
        OSError: The file cannot be made, or cannot be written to.
    """
    lock = take_lock(path, wait=wait)
    try:
        yield False if lock is None else lock.is_held
    finally:
        if lock is not None:
            lock.release(remove=remove)
