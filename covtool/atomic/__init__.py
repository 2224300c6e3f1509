"""Files appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covtool.atomic.endings import tidied_up_when_ended
from covtool.atomic.formats import (
    require_feature_name,
    require_figure_name,
    require_model_name,
    require_picture_name,
    require_suffix,
)
from covtool.atomic.places import place_of, require_replaceable, unwritable
from covtool.atomic.room import require_room
from covtool.atomic.saving import saving
from covtool.atomic.staging import staging_folder, sync, try_writing
from covtool.errors import OutputExistsError

__all__ = [
    "place_of",
    "require_feature_name",
    "require_figure_name",
    "require_free",
    "require_model_name",
    "require_picture_name",
    "require_room",
    "require_suffix",
    "require_writable",
    "saving",
    "written_files",
    "written_whole",
]

_RIGHTS = 0o777  # to read, write and run; no file of ours runs as another user

_NOT_SYNCED = frozenset((errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOTSUP))
"""What systems answer that have no way of syncing a folder, or do not let us read it."""

_written: list[Path] = []  # by this process, for the line that a signal's handler prints


def written_files() -> tuple[Path, ...]:
    """Return files that this process has written whole, in order."""
    return tuple(_written)


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before anything is computed for it.

    Raises:
        ArgumentError: Its folder does not exist or cannot be written to, the disk is full, or the
            path leads to something else than a file; see `covtool.atomic.places.place_of`.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    require_free(path, overwrite=overwrite)
    try:
        place = place_of(path)
        require_replaceable(place)
        try_writing(place)
    except OSError as problem:
        raise unwritable(path, problem) from problem


def require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse an output whose name is taken, or is not a file's.

    Raises:
        ArgumentError: See `covtool.atomic.places.place_of`.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    if place_of(path).exists() and not overwrite:
        raise OutputExistsError(path)


@contextmanager
def written_whole(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary file to write to; it becomes `path` when the block succeeds.

    The content has reached the disk before the name does. Nothing is left behind when the block
    fails, nor when SIGTERM or SIGHUP end the process.

    Args:
        path: File to write. A link is followed and stays; see `covtool.atomic.places.place_of`.
        overwrite: Replace an existing file, which hands on its rights, and its owner where that is
            allowed. Otherwise one that is there by then stays.

    Raises:
        ArgumentError: What is at `path` is not a file.
        OutputExistsError: There is such a file by now, and `overwrite` is False.
        SaveError: The system refused to write: the block raised an OSError.
    """
    place = place_of(path)
    with saving(path), tidied_up_when_ended(), staging_folder(place) as folder:
        temporary = folder / place.name
        temporary.touch()
        usual_mode = temporary.stat().st_mode  # as the umask says; some writers make private files
        yield temporary
        _settle(temporary, place, usual_mode)
        if overwrite:
            temporary.replace(place)
        else:
            _give_new_name(temporary, place, path)
        _written.append(path)
        _sync_names(place.parent)


def _settle(temporary: Path, place: Path, usual_mode: int) -> None:
    """Give a file the rights that it is to have, and let its content reach the disk."""
    sync(temporary)
    if temporary.stat().st_nlink > 1:
        return  # another name of a file that has its rights
    try:
        replaced = place.stat()
    except FileNotFoundError:
        _set_rights(temporary, usual_mode)
    else:
        _take_over(temporary, replaced)


def _take_over(temporary: Path, replaced: os.stat_result) -> None:
    """Give a file the owner, where that is allowed, and the rights of the one it replaces."""
    own = temporary.stat()
    wanted = replaced.st_uid, replaced.st_gid
    if hasattr(os, "chown") and (own.st_uid, own.st_gid) != wanted:
        for owner in (-1, replaced.st_uid):  # the group alone may be all that is allowed
            with suppress(OSError):
                os.chown(temporary, owner, replaced.st_gid)
    _set_rights(temporary, replaced.st_mode)  # last: a new owner takes rights away


def _set_rights(path: Path, mode: int) -> None:
    """Give a file the rights of a mode, where the file system has rights that can be given."""
    if (path.stat().st_mode ^ mode) & _RIGHTS:
        with suppress(PermissionError):  # of one that has none, as on a memory stick
            path.chmod(mode & _RIGHTS)


def _give_new_name(temporary: Path, place: Path, path: Path) -> None:
    """Give a file a name that no file has.

    Raises:
        OutputExistsError: One has it.
        OSError: The system refuses.
    """
    try:
        os.link(temporary, place)
    except FileExistsError:
        raise OutputExistsError(path) from None
    except OSError:  # a file system where no file has two names
        try:
            place.touch(exist_ok=False)
        except FileExistsError:
            raise OutputExistsError(path) from None
        try:
            temporary.replace(place)
        except BaseException:
            place.unlink()
            raise


def _sync_names(folder: Path) -> None:
    """Let a folder's names reach the disk, where folders can be opened and synced at all."""
    try:
        sync(folder)
    except OSError as problem:
        if problem.errno not in _NOT_SYNCED:
            raise
