"""Choosing parts of a model by name, with wildcards."""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase


def fits(name: str, pattern: str) -> bool:
    """Return whether a name, or that of a module around it, fits a pattern with wildcards.

    Example:
        >>> fits("layer1.0.conv1.weight", "layer1.*"), fits("layer1.0.conv1.weight", "layer2")
        (True, False)
    """
    parts = name.split(".")
    prefixes = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    # fnmatch would ignore the case on some systems.
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes)


def near(pattern: str, names: Iterable[str]) -> str:
    """Return up to three names that may have been meant, for an error message."""
    known = list(dict.fromkeys(names))
    return ", ".join(get_close_matches(pattern, known, n=3, cutoff=0.4) or known[:3])
