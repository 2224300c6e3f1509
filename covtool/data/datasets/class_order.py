"""The order of classes, which says what number each is."""

from collections.abc import Iterable


def in_order(names: Iterable[str]) -> list[str]:
    """Return different names of classes, sorted; those of digits alone by their numbers.

    So a class that is called 10 follows 9, and classes called 0 to K-1 have these numbers.

    Example:
        >>> in_order(["10", "9", "2"]), in_order(["cat", "10", "9"])
        (['2', '9', '10'], ['10', '9', 'cat'])
    """
    different = sorted(set(names))
    if all(name.isascii() and name.isdigit() for name in different):
        different.sort(key=int)
    return different
