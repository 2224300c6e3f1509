"""Translation of errors about the paths and files of a data set into `DataError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covtool.errors import CovtoolError, DataError, reason_of
from covtool.printable import printable


@contextmanager
def translate_path_errors(root: Path | str) -> Iterator[None]:
    """Raise a `DataError` in place of an error of the system in the block.

    A folder without permission, a name that is too long, links in a circle: such files must not be
    left out in silence, nor end the command as an unexpected error.

    Args:
        root: Path of the data set, for an error that names no path.

    Raises:
        DataError: In place of an OSError.
    """
    try:
        yield
    except CovtoolError:
        raise
    except OSError as problem:
        path = printable(str(problem.filename or root))
        raise DataError(f"{path} cannot be read.", reason=reason_of(problem)) from problem


@contextmanager
def translate_content_errors(place: Path, kind: str) -> Iterator[None]:
    """Raise a `DataError` in place of any other error in the block.

    Lists of published data sets are read in dozens of ways: an error that none of them expects is
    still a mistake in a list.

    Args:
        place: The folder or file that is read.
        kind: Layout as which it is read.

    Raises:
        DataError: In place of every error that is not covtool's.
    """
    try:
        with translate_path_errors(place):
            yield
    except CovtoolError:
        raise
    except Exception as problem:
        reason = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        raise DataError(f"{place} is not as {kind} is.", reason=printable(reason)) from problem
