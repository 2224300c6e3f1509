"""What a page is made of. All text may come from files: it is escaped where it is shown."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from covtool.pages.csv_rows import Cell
from covtool.pages.thumbnails import Thumbnail

FILES = (
    *("images.csv", "predictions.csv", "unknown.csv", "nearest_training.csv"),
    *("confusion.csv", "confusion_pairs.csv"),
)
"""Names of files that pages have beside them: another file in the folder is not ours to replace."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Paragraphs.

    Attributes:
        paragraphs: Text of each.
    """

    paragraphs: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Sentences that a reader must not miss: doubts, assumptions, what was left out.

    Attributes:
        sentences: The sentences; none shows nothing.
    """

    sentences: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Text to copy, such as a command; ends of lines stay.

    Attributes:
        text: The text.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names with values, a line each.

    Attributes:
        rows: Name and value; a value of None is left out.
    """

    rows: Sequence[tuple[str, Cell]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure that is read first.

    Attributes:
        name: What it is.
        value: The figure as text, its unit included.
        detail: Line below it, such as an interval; empty without one.
    """

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Figures side by side: the head line of a page.

    Attributes:
        tiles: The figures.
    """

    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: Head of the column, in the CSV file and, without a `heading`, in the page.
        heading: Head in the page, where the file has a name and people read words; empty: the
            title.
        format: Format of its numbers in the page, as ``.1f`` or ``,d``; the CSV file has all their
            digits. Columns with a format stand right.
        is_number: Whether the column holds numbers, which then sort as such.
        is_optional: Whether the page leaves it out where no row has a cell of it; the file has it.
    """

    title: str
    heading: str = ""
    format: str = ""
    is_number: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; a CSV file beside the page holds all of its rows.

    Attributes:
        name: Stem of the CSV file: lower case with hyphens, once in a page.
        columns: The columns.
        rows: A cell for each column; None is an empty cell.
        title: Line above it.
        caption: Sentences below it.
        shown: Most rows in the page; the page says how many follow in the file.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    caption: str = ""
    shown: int = 1000

    def __post_init__(self) -> None:
        _require_name(self.name)
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"A row of {self.name!r} has not a cell for each column.")

    def places(self) -> list[int]:
        """Return the places of the columns that the page shows."""
        return [
            place
            for place, column in enumerate(self.columns)
            if not column.is_optional or any(row[place] is not None for row in self.rows)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A drawing; a file beside the page holds it as well.

    Attributes:
        name: Stem of the SVG file: lower case with hyphens, once in a page.
        svg: The drawing as an SVG document; `covtool.plotting.figure_file.svg_text` makes one.
        title: What it shows, in a few words; also for readers that cannot see it.
        caption: Sentences below it.
        is_light: Whether it stays on a light ground where the page is dark, instead of being
            inverted: for drawings that hold photos.
    """

    name: str
    svg: str
    title: str
    caption: str = ""
    is_light: bool = False

    def __post_init__(self) -> None:
        _require_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A thumbnail with lines below it.

    Attributes:
        thumbnail: The encoded image; None where the image could not be shown, which the page says.
        lines: Lines below it; the first stands out.
        about: What the picture is, for readers that cannot see it, and as the tooltip; a path, say.
        mark: ``right``, ``wrong`` or empty: the color of the line around it.
    """

    thumbnail: Thumbnail | None
    lines: Sequence[str] = ()
    about: str = ""
    mark: str = ""

    def __post_init__(self) -> None:
        if self.mark not in ("", "right", "wrong"):
            raise ValueError(f"There is no mark {self.mark!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureGroup:
    """Pictures that belong together, such as an image and its nearest ones.

    Attributes:
        pictures: The pictures, in a row.
        title: Line above them.
        lines: Lines below the title.
    """

    pictures: Sequence[Picture]
    title: str = ""
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Groups of pictures; groups of one picture each make a plain grid.

    Attributes:
        groups: The groups.
        title: Line above them.
        caption: Sentences below the title.
    """

    groups: Sequence[PictureGroup]
    title: str = ""
    caption: str = ""


Block = Text | Notes | Command | Facts | Tiles | Table | Figure | Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with a title, which the page's contents name.

    Attributes:
        name: Anchor: lower case with hyphens, once in a page.
        title: Its title.
        blocks: What is in it, in order.
    """

    name: str
    title: str
    blocks: Sequence[Block]

    def __post_init__(self) -> None:
        _require_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page.

    Attributes:
        title: Its title.
        subtitle: Line below the title.
        head: Blocks before the first section.
        sections: The sections.
        files: Functions that write further files beside the page, by their names in `FILES`.
    """

    title: str
    subtitle: str = ""
    head: Sequence[Block] = ()
    sections: Sequence[Section] = ()
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        blocks = [block for block in self.blocks() if isinstance(block, Table | Figure)]
        for kind in (Table, Figure):
            _require_once([block.name for block in blocks if isinstance(block, kind)])
        _require_once([section.name for section in self.sections])
        for name in self.files:
            if name not in FILES:
                raise ValueError(f"{name!r} is not among the files of pages.")

    def blocks(self) -> list[Block]:
        """Return all blocks, in order."""
        return [*self.head, *chain.from_iterable(section.blocks for section in self.sections)]


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not lower case with hyphens.")


def _require_once(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"A name is there twice: {', '.join(sorted(names))}.")
