"""Staging folders: where a file is written before it gets its name.

Such a folder lies beside the file, so that the file can be moved into place. It holds whatever the
writer makes: safetensors has temporary files of its own. The process that writes holds a lock in
it, which the system lets go of however the process ends; what a killed one leaves behind is removed
by the next that writes to the same place. Locks of other hosts may not be seen from here: what they
leave is removed after a day.
"""

import errno
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covtool.atomic.endings import tidied_up_when_ended
from covtool.file_locks import HeldLock, take_lock

ABANDONED_S = 86_400
"""Seconds after which a folder of another host, or one without locks, counts as abandoned."""

SHOWN = 24
"""Characters of the file's name that its staging folder shows."""

TRIED = 4096
"""Bytes that are written where something is to be written later: a block, to notice a full disk."""

LOCK = ".lock"
_HOST = zlib.crc32((os.uname().nodename if hasattr(os, "uname") else "").encode())
_SUFFIX = ".tmp"
_NAME = re.compile(r"\..*\.covtool-([0-9a-f]{8})-[0-9]+-[0-9a-f]{4}\.tmp", re.DOTALL)


@contextmanager
def staging_folder(place: Path) -> Iterator[Path]:
    """Make a folder beside a file-to-be; remove it after the block.

    Raises:
        OSError: It cannot be made.
    """
    remove_abandoned(place.parent)
    folder, lock = _made(place)
    try:
        yield folder
    finally:
        lock.release()  # first: some file systems keep an open file's name
        shutil.rmtree(folder, ignore_errors=True)


def try_writing(place: Path) -> None:
    """Write a little beside a file-to-be, and remove it.

    Raises:
        OSError: It cannot be written.
    """
    with tidied_up_when_ended(), staging_folder(place) as folder:
        tried = folder / place.name
        tried.touch()
        tried.write_bytes(bytes(TRIED))
        sync(tried)


def sync(path: Path) -> None:
    """Let the content of a file, or the names in a folder, reach the disk.

    Raises:
        OSError: The system refuses; of a folder, as Windows refuses all.
    """
    try:
        _sync(path, os.O_RDONLY)  # what may not be written to can be synced elsewhere
    except OSError as problem:
        if problem.errno != errno.EBADF:
            raise
        _sync(path, os.O_RDWR)  # Windows syncs only what is open for writing


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_abandoned(folder: Path) -> None:
    """Remove the staging folders in a folder whose processes were killed."""
    with suppress(OSError):  # a folder that cannot be written to is reported by `try_writing`
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries if entry.name.endswith(_SUFFIX))
            found = [match for name in names if (match := _NAME.fullmatch(name))]
        for match in found:
            with suppress(OSError):  # another user's, say
                _remove_if_abandoned(folder / match[0], is_own=match[1] == f"{_HOST:08x}")


def _made(place: Path) -> tuple[Path, HeldLock]:
    """Return a new staging folder and its lock, which is held."""
    while True:
        unique = f"{_HOST:08x}-{os.getpid()}-{os.urandom(2).hex()}"
        folder = place.with_name(f".{place.name[:SHOWN]}.covtool-{unique}{_SUFFIX}")
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        try:
            lock = _locked(folder / LOCK)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if lock is not None:
            return folder, lock


def _locked(path: Path) -> HeldLock | None:
    """Return a new file and a lock on it; None where another process has tidied it up meanwhile."""
    try:
        lock = take_lock(path)
    except FileNotFoundError:
        return None
    if lock is None or path.exists():  # None: it is being tidied up
        return lock
    lock.release()
    return None


def _remove_if_abandoned(folder: Path, *, is_own: bool) -> None:
    if folder.is_symlink():
        return
    if not os.path.lexists(folder / LOCK):
        folder.rmdir()  # the process was killed, or makes itself another: see `_locked`
        return
    is_old = _is_old(folder)
    lock = take_lock(folder / LOCK)
    if lock is None:
        return
    is_left = (lock.is_held and is_own) or is_old
    try:
        if is_left:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()
    if is_left:
        shutil.rmtree(folder, ignore_errors=True)  # Windows keeps an open file: the lock itself


def _is_old(folder: Path) -> bool:
    touched = max(path.lstat().st_mtime for path in (folder, *folder.iterdir()))
    return time.time() - touched > ABANDONED_S
