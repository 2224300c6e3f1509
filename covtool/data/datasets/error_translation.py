"""What the system says of a path of a data set, as an error of the data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covtool.errors import CovtoolError, DataError, reason_of
from covtool.printable import printable


@contextmanager
def translate_path_errors(root: Path | str) -> Iterator[None]:
    """Make an error of the system one of the data, until the block ends.

    A folder that may not be looked into, a name that is too long, links in a circle: what cannot be
    read must not be missing without a word, and it is nothing that nobody foresaw.

    Args:
        root: Of the data set, where the system does not say which path it means.

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
    """Make whatever comes up where a file is read one error of the data, until the block ends.

    Lists of published data sets are read in dozens of ways: what none of them has foreseen is still
    a mistake in a list.

    Args:
        place: The folder or file that is read.
        kind: What it is read as.

    Raises:
        DataError: In place of all that is no error of covtool.
    """
    try:
        with translate_path_errors(place):
            yield
    except CovtoolError:
        raise
    except Exception as problem:
        said = f"{type(problem).__name__}: {problem}" if str(problem) else type(problem).__name__
        raise DataError(f"{place} is not as {kind} is.", reason=printable(said)) from problem
