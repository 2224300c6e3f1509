"""The row of a published layout, and how one is recognized."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.found_images import FoundImages
from covtool.data.datasets.layout import DataLayout
from covtool.specs.layout import LayoutSpec

Read = Callable[[Path, LayoutSpec], FoundImages | DataLayout]


def _always(root: Path) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLayout:
    """A layout in which data sets are published.

    Attributes:
        name: Of the layout.
        summary: What it looks like, in a line.
        source: Who publishes data in it.
        splits: What it calls its splits, and by which file.
        told_by: Patterns of paths, all of which must be there; ``|`` separates alternatives, of
            which one suffices. Of a layout that is a file, patterns of its name.
        without: Patterns of paths that must not be there.
        confirmed: What more must be true, told without reading whole files.
        read: Its images; may raise `DataError`.
        options: Fields of `LayoutSpec` that choose between what it has.
        is_file: Whether it is a file rather than a folder.
    """

    name: str
    summary: str
    source: str
    splits: str
    told_by: tuple[str, ...]
    read: Read
    without: tuple[str, ...] = ()
    confirmed: Callable[[Path], bool] = _always
    options: tuple[str, ...] = ()
    is_file: bool = False

    def fits(self, root: Path) -> bool:
        """Return whether a path has this layout."""
        if self.is_file != root.is_file():
            return False
        told = all(any(_is_there(root, p) for p in row.split("|")) for row in self.told_by)
        against = any(_is_there(root, pattern) for pattern in self.without)
        return told and not against and self.confirmed(root)


def _is_there(root: Path, pattern: str) -> bool:
    if root.is_file():
        return Path(root.name.lower()).match(pattern)
    if not any(sign in pattern for sign in "*?["):
        path = root / pattern
        return path.is_dir() if pattern.endswith("/") else path.exists()
    return next(root.glob(pattern), None) is not None
