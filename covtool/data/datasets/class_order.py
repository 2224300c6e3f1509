"""The order of classes, which gives each its number."""

from collections.abc import Iterable


def in_order(names: Iterable[str]) -> list[str]:
    """Return the different names of classes, sorted; names of digits alone by their numbers.

    So class 10 follows class 9, and the classes 0 to K-1 have these numbers.

    Example:
        >>> in_order(["10", "9", "2"]), in_order(["cat", "10", "9"])
        (['2', '9', '10'], ['10', '9', 'cat'])
    """
    different = sorted(set(names))
    # In ASCII: `isdigit` is true of a superscript too, which `int` does not take.
    if all(name.isascii() and name.isdigit() for name in different):
        different.sort(key=int)
    return different
