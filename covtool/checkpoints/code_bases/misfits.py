"""Readers of a code base's files, on files that have its names and other tensors under them."""

import warnings
from collections.abc import Callable
from typing import TypeVar

from covtool.errors import CovtoolError

# What tensors of a code base's names and of other shapes make of its rules and steps.
_MISFITS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_Read = TypeVar("_Read")


def read_or_none(read: Callable[[], _Read]) -> _Read | None:
    """Return what a code base's reader makes of a file; None where the shapes do not fit it.

    Names alone tell whose a file is, and whoever wrote it may have put anything under them.

    Raises:
        CovtoolError: The reader refuses the file, with a reason of its own.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, of shapes that make no sense
            return read()
    # Covtool's errors derive from ValueError and the like, which are caught below.
    except CovtoolError:
        raise
    except _MISFITS:
        return None
