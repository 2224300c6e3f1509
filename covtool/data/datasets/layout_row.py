"""The row of a layout of data sets, and how a path that has the layout is recognized."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from covtool.specs.layout import LayoutSpec

Found = TypeVar("Found")
"""The record that a reader returns: images by class for classification, by identity else."""


def _always(root: Path) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRow(Generic[Found]):
    """A layout in which data sets are published.

    Attributes:
        name: Name of the layout.
        summary: Its files and folders, in a line.
        source: Publisher, or a data set that has it.
        splits: Its splits or subsets, and the file that defines them.
        read: Function that returns the images; may raise `DataError`.
        markers: Patterns of paths, all of which must be there; ``|`` separates alternatives, of
            which one suffices. For a layout that is a file, patterns of its name.
        without: Patterns of paths that must not be there.
        confirmed: Further condition, decided without reading whole files.
        options: Fields of `LayoutSpec` that choose between its variants.
        is_file: Whether it is a file rather than a folder.
    """

    name: str
    summary: str
    source: str
    splits: str
    read: Callable[[Path, LayoutSpec], Found]
    markers: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    confirmed: Callable[[Path], bool] = _always
    options: tuple[str, ...] = ()
    is_file: bool = False

    def fits(self, root: Path) -> bool:
        """Return whether a path has this layout."""
        if self.is_file != root.is_file():
            return False
        marked = all(any(_is_there(root, p) for p in row.split("|")) for row in self.markers)
        excluded = any(_is_there(root, pattern) for pattern in self.without)
        # Last, and only then: the condition may open files.
        return marked and not excluded and self.confirmed(root)


def _is_there(root: Path, pattern: str) -> bool:
    if root.is_file():
        return Path(root.name.lower()).match(pattern)
    # Without a wildcard no glob: it would list a folder that may have a million entries.
    if not any(sign in pattern for sign in "*?["):
        path = root / pattern
        return path.is_dir() if pattern.endswith("/") else path.exists()
    return next(root.glob(pattern), None) is not None
