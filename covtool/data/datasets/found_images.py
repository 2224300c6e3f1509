"""Labeled images under a data set's own names of classes and splits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from covtool.data.datasets.image_paths import ImagePaths
from covtool.printable import first_few, printable

Labeled = tuple[Path, str]
"""An image and the name of its class."""


class LabeledPaths(Sequence[Labeled]):
    """Images with the names of their classes, as columns.

    Args:
        paths: The images.
        names: Names of classes, each once.
        numbers: For each image, the place of its class in `names`, (N,).
    """

    __slots__ = ("names", "numbers", "paths")

    def __init__(self, paths: ImagePaths, names: Sequence[str], numbers: np.ndarray) -> None:
        self.paths = paths
        self.names = tuple(names)
        self.numbers = numbers.astype(np.int32, copy=False)

    @classmethod
    def of(cls, paths: ImagePaths, labels: Iterable[str]) -> "LabeledPaths":
        """Return images with the name of the class of each."""
        names: dict[str, int] = {}
        each = (names.setdefault(label, len(names)) for label in labels)
        numbers = np.fromiter(each, np.int32, len(paths))  # which fills the table of names
        return cls(paths, tuple(names), numbers)

    def classes(self) -> set[str]:
        """Return the names of the classes that have images."""
        return {self.names[number] for number in np.unique(self.numbers)}

    def labels(self, label_of: Mapping[str, int]) -> np.ndarray:
        """Return the label of each image, (N,), by those of the classes."""
        labels = np.array([label_of.get(name, -1) for name in self.names], dtype=np.int32)
        return labels[self.numbers]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Labeled: ...
    @overload
    def __getitem__(self, index: slice) -> "LabeledPaths": ...
    def __getitem__(self, index: int | slice) -> "Labeled | LabeledPaths":
        if isinstance(index, slice):
            return LabeledPaths(self.paths[index], self.names, self.numbers[index])
        return self.paths[index], self.names[self.numbers[index]]

    def __iter__(self) -> Iterator[Labeled]:
        return zip(self.paths, (self.names[n] for n in self.numbers), strict=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


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
