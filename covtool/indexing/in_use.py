"""The lock on an index that is being changed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from covtool.errors import DataError, reason_of
from covtool.file_locks import locked_file
from covtool.regular_files import require_regular


@contextmanager
def index_in_use(path: Path) -> Iterator[None]:
    """Keep other commands from changing an index meanwhile; one that was killed does not.

    The lock is a file beside it, which goes with it. An index that is not there is not locked, nor
    one in a folder that cannot be written to, where no index can be replaced, nor one on a file
    system without locks.

    Raises:
        DataError: Another command changes it now, or that cannot be known.
    """
    with ExitStack() as held:
        is_held = None
        place = Path(os.path.realpath(path))  # several links may lead to one index
        lock = place.with_name(f".{place.name}.lock")
        try:
            if _can_be_changed(place):
                is_held = held.enter_context(locked_file(lock, remove=True))
        except OSError as problem:
            raise DataError(
                f"{path} cannot be locked: another command might change it as well.",
                reason=f"{lock}: {reason_of(problem)}",
                hint="Remove that file if no other command, of another user perhaps, is under way.",
            ) from problem
        if is_held is False:
            raise DataError(
                f"{path} is being changed by another command.",
                hint="Wait until that has ended, then give this one again.",
            )
        yield


def _can_be_changed(place: Path) -> bool:
    """Return whether there is an index that this process could replace by another one."""
    try:
        require_regular(place)
    except OSError:
        return False
    return os.access(place.parent, os.W_OK | os.X_OK)
