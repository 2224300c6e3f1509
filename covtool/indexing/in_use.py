"""The lock on an index that is being changed."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from covtool.errors import DataError
from covtool.file_locks import locked_file
from covtool.regular_files import require_regular


@contextmanager
def index_in_use(path: Path) -> Iterator[None]:
    """Keep other commands from changing an index meanwhile; one that was killed does not.

    The lock is a file beside it, which goes with it. An index that is not there is not locked, nor
    one in a folder that cannot be written to: it cannot be changed there either.

    Raises:
        DataError: Another command changes it now.
    """
    with ExitStack() as held:
        is_held = None
        with suppress(OSError):
            require_regular(path)
            place = Path(os.path.realpath(path))  # several links may lead to one index
            lock = place.with_name(f".{place.name}.lock")
            is_held = held.enter_context(locked_file(lock, remove=True))
        if is_held is False:
            raise DataError(
                f"{path} is being changed by another command.",
                hint="Wait until that has ended, then give this one again.",
            )
        yield
