"""Names that differ in spelling only: case, separators, quotes, a number before them."""

import re

_NUMBER = re.compile(r"\d+[._ -]+(?=\D)")  # 001.Black_footed_Albatross, of CUB


def spelled_alike(name: str) -> str:
    """Return a name in one spelling of case, separators and quotes, which programs change.

    Example:
        >>> spelled_alike("Black-footed_Albatross") == spelled_alike("black footed albatross")
        True
    """
    return " ".join(re.split(r"[^\w]+|_", name.casefold().replace("'", ""))).strip()


def without_number(name: str) -> str:
    """Return a name without the number that some data sets put before it."""
    return _NUMBER.sub("", name, count=1) if _NUMBER.match(name) else name
