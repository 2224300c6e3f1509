"""Keys of dictionaries and elements of sets: only what is quick and safe to hash."""

from typing import Any

from covtool.checkpoints.pickles.records import PickleError

_MOST_PARTS = 1_000  # of a tuple, nested ones included: each is hashed anew, and takes stack
_LARGEST_INTEGER = 1 << 64  # larger ones can be chosen to have the same hash


def require_key(value: Any) -> None:
    """Refuse keys of dictionaries that cannot be hashed, or that take long or much stack to hash.

    Raises:
        PickleError: It is such a one.
    """
    pending, left = [value], _MOST_PARTS
    while pending:
        part = pending.pop()
        left -= 1
        if isinstance(part, tuple):
            left -= len(part)
            if left >= 0:
                pending.extend(part)
        elif type(part) is int and abs(part) >= _LARGEST_INTEGER:
            raise PickleError("A key of a dictionary is too large a number.")
        elif isinstance(part, dict | list | bytearray):
            raise PickleError(f"A key of a dictionary is a {type(part).__name__}.")
        if left < 0:
            raise PickleError(f"A key of a dictionary has more than {_MOST_PARTS:,} parts.")
