"""Amounts of memory, as people write and read them."""

import re

_UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}
_TOO_MANY = 1e15  # of any unit
# Units are read in any case: bits are never meant here.
_BY_LOWER_CASE = {unit.lower(): size for unit, size in _UNITS.items()}


def parse_bytes(text: str) -> int:
    """Return an amount of memory, as a user writes it, in bytes.

    Raises:
        ValueError: It is none, or nothing.

    Example:
        >>> parse_bytes("4GB"), parse_bytes("1.5 GiB")
        (4000000000, 1610612736)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    number, unit = (float(match[1]), match[2]) if match is not None else (0.0, "")
    if not 0 < number < _TOO_MANY or unit not in _BY_LOWER_CASE:
        raise ValueError("it should be a number with a unit, like 800MB, 4GB or 16GiB")
    return int(number * _BY_LOWER_CASE[unit])


def format_bytes(num_bytes: float) -> str:
    """Return bytes for a person.

    Example:
        >>> format_bytes(312_400_000), format_bytes(4_000_000_000), format_bytes(512)
        ('312 MB', '4.0 GB', '512 B')
    """
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{num_bytes:.0f} B"
