"""Descriptions, in one line, of what is wrong with the values of a record."""

from typing import Any

from pydantic import ValidationError

from covtool.printable import printable

_LONGEST_KEY = 80
_LONGEST_VALUE = 60
_MOST_BITS = 4096
_OWN = "Value error, "  # what pydantic puts before the words of our own validators


def first_problem(problem: ValidationError) -> str:
    """Return the first thing that is wrong: its key, why, and its value as it can be printed.

    Example:
        >>> from covtool.specs import EigenlayerSpec
        >>> try:
        ...     EigenlayerSpec.model_validate({"features": "many"})
        ... except ValidationError as refused:
        ...     print(first_problem(refused))
        features: Input should be a valid integer, unable to parse string as an integer, not 'many'
    """
    key, reason = key_and_reason(problem)
    return f"{key}: {reason}" if key else reason


def key_and_reason(problem: ValidationError) -> tuple[str, str]:
    """Return the key of the first wrong value, and the reason with the value; "" for no key."""
    key, reason, value = parts_of(problem)
    return key, f"{reason}, not {value}" if value else reason


def parts_of(problem: ValidationError) -> tuple[str, str, str]:
    """Key, reason and value of what is wrong; empty where there is no key, or nothing to show."""
    # Without the context, which may hold objects that cannot be printed.
    first = problem.errors(include_url=False, include_context=False)[0]
    key = printable(".".join(map(str, first["loc"])), longest=_LONGEST_KEY)
    reason = printable(first["msg"].removeprefix(_OWN)).rstrip(".")
    # For these the input is the whole record, or the reason has it already.
    shows = first["type"] not in ("missing", "extra_forbidden", "value_error")
    return key, reason, shown(first["input"]) if shows else ""


def shown(value: Any) -> str:
    """Return a value from a file to print, cut to a length; of a collection its kind."""
    if isinstance(value, dict | list | tuple | set):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value):,}"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # Python refuses to write it
        return "a whole number of thousands of digits"
    # Cut before it is printed: a value may have millions of characters.
    text = value[: 2 * _LONGEST_VALUE] if isinstance(value, str) else value
    return printable(repr(text), longest=_LONGEST_VALUE)
