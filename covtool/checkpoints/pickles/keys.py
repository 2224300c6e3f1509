"""Keys of dictionaries and elements of sets: only what is quick and safe to hash."""

from typing import Any

from covtool.checkpoints.pickles.records import PickleError

_MOST_PARTS = 1_000  # of a tuple, nested ones included: each is hashed anew, and takes stack
_LONGEST_TEXT = 10_000  # characters or bytes of all parts of a tuple, each of which may be the same
_COST = 500  # of a tuple as a key: tuples can be chosen to have the same hash, numbers cannot
_LARGEST_INTEGER = 1 << 64  # larger ones can be chosen to have the same hash


def require_key(value: Any) -> int:
    """Refuse keys of dictionaries that cannot be hashed, or that take long or much stack to hash.

    Returns:
        What it costs to hash it, in operations beside the one that sets it.

    Raises:
        PickleError: It is such a one.
    """
    if isinstance(value, str):
        return 0
    # Without recursion, which a nested tuple could make as deep as it likes.
    pending, left, length = [value], _MOST_PARTS, 0
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
        elif isinstance(part, str | bytes) and part is not value:
            length += len(part)
        if left < 0 or length > _LONGEST_TEXT:
            raise PickleError(
                f"A key of a dictionary has more than {_MOST_PARTS:,} parts, or text of more than "
                f"{_LONGEST_TEXT:,} characters."
            )
    return _COST + _MOST_PARTS - left if isinstance(value, tuple) else 0
