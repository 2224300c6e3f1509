"""One error for all that the system says while something is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covtool.errors import CovtoolError, SaveError


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn an OSError of the block, which writes `path`, into a `SaveError`.

    Raises:
        SaveError: The block raised an OSError that is no error of covtool's already.
    """
    try:
        yield
    except OSError as problem:
        if isinstance(problem, CovtoolError):
            raise
        raise SaveError.of(path, problem) from problem
