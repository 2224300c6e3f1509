"""Labeled images under a data set's own names of classes and splits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covtool.printable import first_few, printable

Labeled = tuple[Path, str]
"""An image and the name of its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """The images of a data set.

    Attributes:
        splits: Images with the names of their classes, by the data set's own names of the splits;
            under `covtool.data.datasets.folders.names.UNSPLIT` where it has none.
        unlabeled: Splits that are there without labels, and the reasons.
        empty: Class folders without images, by split.
        notes: Notes for the user on what was read and what was left out.
    """

    splits: Mapping[str, Sequence[Labeled]]
    unlabeled: Mapping[str, str] = field(default_factory=dict)
    empty: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def shown(names: Iterable[str], limit: int = 6) -> str:
    """Join names, the first ones if there are many.

    Example:
        >>> shown("abc", limit=2)
        'a, b, and 1 more'
    """
    return first_few(list(names), limit, show=printable)


def counted(number: int, thing: str) -> str:
    """Return a number and a noun, in the singular or the plural.

    Example:
        >>> counted(1, "image"), counted(5994, "class"), counted(2, "identity")
        ('1 image', '5,994 classes', '2 identities')
    """
    plural = f"{thing}{'es' if thing.endswith('s') else 's'}"
    if thing.endswith("y"):
        plural = f"{thing.removesuffix('y')}ies"
    return f"{number:,} {thing if number == 1 else plural}"
