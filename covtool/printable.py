"""Text from files, made fit for a terminal: all such text is shown through here."""

from collections.abc import Callable, Collection
from itertools import islice
from typing import TypeVar
from unicodedata import category

T = TypeVar("T")

_LONGEST = 200

MOST_MARKS = 4
"""Combining marks on one letter; no script has more, and a flood of them covers other lines."""

_MARKS = frozenset({"Mn", "Me"})
_INVISIBLE = frozenset(
    ("\u034f", *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0)))
) | frozenset("\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Characters that count as printable, yet show nothing: two names may differ in them alone."""


def printable(text: str, *, longest: int = _LONGEST) -> str:
    r"""Return text with control characters and the like escaped, and cut to a length.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    shown = escaped(text[:longest])
    return shown + ("..." if len(text) > longest else "")


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return text with every character escaped that is not printable, lone surrogates among them.

    So are characters that turn the direction of text or have no width, and combining marks beyond
    `MOST_MARKS` on one letter: what is shown is what is there, in its order and in its place.

    Args:
        text: Any text.
        keep: Characters that are left as they are, the end of a line for example.

    Example:
        >>> print(escaped("one\ntwo\x07", keep="\n"))
        one
        two\x07
    """
    if text.isascii() and text.isprintable():
        return text
    shown, marks = [], 0
    for character in text:
        marks = marks + 1 if category(character) in _MARKS else 0
        visible = character.isprintable() and character not in _INVISIBLE and marks <= MOST_MARKS
        shown.append(character if visible or character in keep else _escape(character))
    return "".join(shown)


def first_few(
    items: Collection[T], most: int, *, show: Callable[[T], str] = str, separator: str = ", "
) -> str:
    """Return items in a row, the first ones if there are many, and how many follow.

    Args:
        items: Any number of items; of millions, only those that are shown become text.
        most: Items that are shown.
        show: Function that gives the printable text of an item.
        separator: Text between two of them.

    Example:
        >>> first_few("abcd", 2)
        'a, b, and 2 more'
    """
    shown = [show(item) for item in islice(items, most)]
    rest = len(items) - most
    return separator.join([*shown, *([f"and {rest:,} more"] if rest > 0 else [])])


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
