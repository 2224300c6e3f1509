"""The published layout of a path, and its images."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from covtool.data.datasets.error_translation import translate_content_errors
from covtool.data.datasets.folders.classes import folders_in, holds_images
from covtool.data.datasets.folders.names import is_no_class
from covtool.data.datasets.found_images import counted
from covtool.data.datasets.layout import DataLayout, layout_of_images
from covtool.data.datasets.layout_row import LayoutRow
from covtool.data.datasets.published.options import refuse_options
from covtool.data.datasets.published.table import PUBLISHED
from covtool.specs.layout import LayoutSpec

MOST_BESIDE = 8  # folders around the one that an archive is unpacked to
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class FoundPublished:
    """A published data set.

    Attributes:
        row: Its layout.
        place: The folder or file that has it: the path that was given, or one in it.
    """

    row: LayoutRow
    place: Path

    def layout(self, root: Path, choice: LayoutSpec) -> DataLayout:
        """Read its images and classes.

        Args:
            root: The path that was given.
            choice: Options: labels, split, crops.

        Raises:
            ArgumentError: It takes no such option, or a package that reads it is missing.
            DataError: It is incomplete.
        """
        refuse_options(choice, self.row.options, root)
        with translate_content_errors(self.place, self.row.name):
            found = self.row.read(self.place, choice)
        if not isinstance(found, DataLayout):
            found = layout_of_images(root, "folder" if root.is_dir() else "csv", found)
        where = "" if self.place == root else f" in {self.place}"
        sizes = ", ".join(
            f"{len(found.splits[k]):,} in {own}" for k, own in found.split_names.items()
        )
        read = f"Read as {self.row.name}{where}: {counted(len(found.class_names), 'class')}"
        notes = (f"{read}; images: {sizes}.", *found.notes)
        notes += tuple(f"{why}: not used." for why in found.unlabeled.values())
        return replace(found, notes=notes)


def find_published(root: Path) -> FoundPublished | None:
    """Find the published layout of a path; None if it has none.

    A folder that only wraps the data set's folder, as archives leave it, has the layout as well.
    """
    for place in _places(root):
        row = next((row for row in PUBLISHED if row.fits(place)), None)
        if row is not None:
            return FoundPublished(row, place)
    return None


def _places(root: Path, depth: int = 0) -> Iterator[Path]:
    if not root.exists():
        return
    yield root
    if depth < DEEPEST and root.is_dir() and (below := _wrapped(root)) is not None:
        yield from _places(below, depth + 1)


def _wrapped(root: Path) -> Path | None:
    """Return the only folder of a folder that may hold a data set; None with several."""
    # Many folders are classes: looking for images in each would take long, and find no wrapper.
    children = folders_in(root)
    if not children or len(children) > MOST_BESIDE:
        return None
    held = [child for child in children if not is_no_class(child.name) and holds_images(child)]
    return held[0] if len(held) == 1 else None
