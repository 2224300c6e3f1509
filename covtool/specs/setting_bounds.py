"""Bounds of the settings of a run: a value beyond them is a slip, or from a broken file.

A run would go on for ever, take all memory, or end in an overflow far from the setting.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from covtool.errors import ArgumentError
from covtool.specs.record import as_flag

LARGEST_NUMBER = 10**9
"""Magnitude of a setting that is a whole number, where `LARGEST` has none of its own."""
LARGEST_FRACTION = 1e30
"""Magnitude of a setting that may be a fraction, a learning rate for example."""
LARGEST: Mapping[str, int] = {
    "seed": 2**62,
    "nproc": 1024,
    "rri": 10_000,
    "dist_timeout": 10**7,  # seconds: four months
    "cache_side": 2**16,  # pixels
}
"""Largest values of some settings."""
LONGEST_TEXT = 4096
"""Characters of a setting: the longest path of Linux."""
MOST_ITEMS = 1000
"""Values of a setting that may be repeated."""


def require_bounded(settings: Mapping[str, Any]) -> None:
    """Refuse settings that no run can have.

    Args:
        settings: Plain values, under the names of their options.

    Raises:
        ArgumentError: One is infinite, not a number, too large or too long.
    """
    for name, value in settings.items():
        items = value if isinstance(value, list | tuple) else (value,)
        if len(items) > MOST_ITEMS:
            raise ArgumentError(
                f"{as_flag(name)} has {len(items):,} values, of {MOST_ITEMS:,} at most."
            )
        for reason in (why for item in items for why in _problems(name, item)):
            raise ArgumentError(f"{as_flag(name)} is not valid: {reason}.")


def _problems(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            yield f"it has {len(value):,} characters, of {LONGEST_TEXT:,} at most"
        # It ends a name for the system, and would name another file.
        if "\0" in value:
            yield "it has a character in it that no name has"
    elif isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            yield "it is not a finite number"
            return
        # A flag is an int as well, and always small enough.
        usual = LARGEST_NUMBER if isinstance(value, int) else LARGEST_FRACTION
        if abs(value) > (largest := LARGEST.get(name, usual)):
            yield f"it is larger than {largest:,}"
