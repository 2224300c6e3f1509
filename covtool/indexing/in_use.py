"""The lock on an index that is being changed."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from covtool.errors import DataError, reason_of
from covtool.file_locks import locked_file
from covtool.regular_files import require_regular

_CANNOT_BE_CHANGED = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
)
"""Numbers of the errors of a place that holds no index, or none that can be written to."""


@contextmanager
def index_in_use(path: Path) -> Iterator[None]:
    """Keep other commands from changing an index meanwhile; one that was killed does not.

    The lock is a file beside it, which goes with it. An index that is not there is not locked, nor
    one in a folder that cannot be written to: it cannot be changed there either.

    Raises:
        DataError: Another command changes it now, or that cannot be known.
    """
    with ExitStack() as held:
        is_held = None
        try:
            require_regular(path)
            place = Path(os.path.realpath(path))  # several links may lead to one index
            lock = place.with_name(f".{place.name}.lock")
            is_held = held.enter_context(locked_file(lock, remove=True))
        except OSError as problem:
            if problem.errno not in _CANNOT_BE_CHANGED:
                raise DataError(
                    f"{path} cannot be locked, so that another command might change it as well.",
                    reason=reason_of(problem),
                ) from problem
        if is_held is False:
            raise DataError(
                f"{path} is being changed by another command.",
                hint="Wait until that has ended, then give this one again.",
            )
        yield
