"""A picture of queries with the images that a search found for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont

from covtool.atomic import written_whole
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.data.images.decoding import read_image
from covtool.errors import DataError
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.printable import printable

QUERIES = 10
MATCHES = 10

RIGHT, WRONG, NEUTRAL = "#009E73", "#D62728", "#5B6470"
"""Of frames; a bluish green and a red that color-blind readers tell apart."""
_PAPER, _INK, _FAINT, _MISSING = "#FFFFFF", "#1C2126", "#6B747D", "#E8EAED"
_AREA = 150 * 150
_NARROWEST = 0.5  # width over height of a cell, as pedestrians have it
_WIDEST = 1.6
_FRAME = 5
_GAP = 12
_CAPTION = 132  # width of a caption at least: an image of a pedestrian is narrower
_MOST_LINES = 2  # of one caption, which may be the name of a folder
_MARGIN = 24
_COLUMN_GAP = 22  # between a query and what was found for it
_TITLE_SIZE, _TEXT_SIZE = 19, 13
_ENDS = " _-./"
_LINE = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetImage:
    """An image on a sheet.

    Attributes:
        path: Its file.
        color: Color of its frame.
        captions: Lines below it, the first in the strongest color; empty ones are left out.
    """

    path: Path
    color: str
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """A query, and what was found for it, in order."""

    query: SheetImage
    found: Sequence[SheetImage]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Positions on the sheet, in pixels.

    Attributes:
        width: Width of an image's cell, and of the captions below it.
        height: Height of an image's cell, without the captions.
        lines: Lines of captions below an image.
        columns: Matches of a query.
        rows: Number of queries.
        notes: Lines above the images, each as wide as the sheet at most.
    """

    width: int
    height: int
    lines: int
    columns: int
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        x, y = self.corner(self.rows, self.columns)
        return x + self.width + _MARGIN, y - _GAP + _MARGIN

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of a cell; column 0 is the query's."""
        gap = _COLUMN_GAP if column else 0
        x = _MARGIN + column * (self.width + _GAP) + gap
        return x, self.top + row * (self.height + self.lines * _LINE + _GAP + 6)

    @property
    def top(self) -> int:
        """Upper edge of the first row of images."""
        return _MARGIN + (3 + len(self.notes)) * _LINE + 14


def save_ranks(  # noqa: PLR0913 -- what was searched, and what stands above it
    path: Path,
    result: RetrievalResult,
    query: Sequence[RetrievalSample],
    gallery: Sequence[RetrievalSample],
    *,
    title: str = "",
    notes: Sequence[str] = (),
    overwrite: bool = True,
) -> Path:
    """Draw some queries, a row each, with the first images of their rankings.

    Images of the query's identity are framed green, others red. The queries are taken at equal
    distances from all that count. An image that cannot be read is left gray.

    Args:
        path: PNG file to write.
        result: Result of a search with `keep`, of `MATCHES` or so.
        query: Images of the queries, in the order of the search.
        gallery: Images of the gallery, in the order of the search.
        title: Title of the sheet.
        notes: Sentences above the images.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    rows = select_queries(result, QUERIES)
    drawn = []
    for row in rows:
        sample, precision = query[row], result.average_precisions[row]
        found = [gallery[image] for image in result.matches[row].tolist() if image >= 0]
        captions = (*_labels_of(sample), f"AP {precision:.1f} %")
        drawn.append(
            SheetRow(
                query=SheetImage(path=sample.path, color=NEUTRAL, captions=captions),
                found=[_judged(match, sample) for match in found],
            )
        )
    subtitle = f"{len(rows)} of {result.queries} queries"
    legend = ((NEUTRAL, "query"), (RIGHT, "same identity"), (WRONG, "another"))
    head = Head(title, subtitle, legend, tuple(notes))
    return save_sheet(path, drawn, head, overwrite=overwrite)


class Head(NamedTuple):
    """What stands above the images of a sheet.

    Attributes:
        title: Its title; "" for none.
        subtitle: Text beside the title.
        legend: Colors of frames, and what they mean.
        notes: Sentences below them, on what must not be missed.
    """

    title: str
    subtitle: str
    legend: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def save_sheet(path: Path, rows: Sequence[SheetRow], head: Head, *, overwrite: bool = True) -> Path:
    """Draw queries, a row each, with what was found for them.

    An image that cannot be read is left gray.

    Args:
        path: PNG file to write.
        rows: The queries, one at least.
        head: Text above them.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    font = ImageFont.load_default(_TEXT_SIZE)
    grid = _grid(rows, font)
    width = grid.size[0] - 2 * _MARGIN
    lines = [line for note in head.notes for line in _wrapped(printable(note), width, font)]
    grid = replace(grid, notes=tuple(lines))
    sheet = Image.new("RGB", grid.size, _PAPER)
    pen = _Pen(sheet, grid, font)
    pen.write_head(head)
    for place, row in enumerate(rows):
        for column, image in enumerate([row.query, *row.found]):
            pen.draw_image(image, (place, column))
    # The format by name: the temporary file does not end in .png.
    with written_whole(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


def _labels_of(sample: RetrievalSample) -> tuple[str, ...]:
    return sample.identity, "" if sample.camera is None else f"camera {sample.camera}"


def _judged(match: RetrievalSample, query: RetrievalSample) -> SheetImage:
    # By identity alone: an image of the query's own camera is not in the ranking.
    color = RIGHT if match.identity == query.identity else WRONG
    return SheetImage(path=match.path, color=color, captions=_labels_of(match))


def select_queries(result: RetrievalResult, count: int) -> list[int]:
    """Return queries at equal distances among those that count, the first and the last included."""
    places = [row for row, found in enumerate(result.average_precisions) if found is not None]
    # Data sets list a person's images together: the first ten queries would show one or two.
    steps = torch.linspace(0, len(places) - 1, min(count, len(places)), dtype=torch.float64)
    return [places[step] for step in steps.round().long().tolist()]


class _Pen:
    """Draws on a sheet."""

    def __init__(self, sheet: Image.Image, grid: _Grid, font: ImageFont.FreeTypeFont) -> None:
        self._sheet, self._grid, self._font = sheet, grid, font
        self._draw = ImageDraw.Draw(sheet)
        self._title_font = ImageFont.load_default(_TITLE_SIZE)

    def write_head(self, head: Head) -> None:
        """Write the title, the legend and the numbers of the columns."""
        grid, y = self._grid, _MARGIN - 4
        x = _MARGIN
        title = printable(head.title)
        if title:
            self._draw.text((x, y), title, _INK, self._title_font)
            x += self._title_font.getlength(title) + 2 * _GAP
        self._draw.text((x, y + 4), head.subtitle, _FAINT, self._font)
        y += 2 * _LINE
        x = _MARGIN
        for color, text in head.legend:
            self._draw.rectangle((x, y + 3, x + 11, y + 14), fill=color)
            self._draw.text((x + 17, y), text, _FAINT, self._font)
            x += 17 + self._font.getlength(text) + 1.5 * _GAP
        for line in grid.notes:
            y += _LINE
            self._draw.text((_MARGIN, y), line, _INK, self._font)
        for column in range(1, grid.columns + 1):
            x, top = grid.corner(0, column)
            self._draw.text(
                (x + grid.width / 2, top - _LINE - 2), str(column), _FAINT, self._font, anchor="ma"
            )

    def draw_image(self, shown: SheetImage, place: tuple[int, int]) -> None:
        """Draw an image in its frame, with its captions below."""
        grid = self._grid
        x, y = grid.corner(*place)
        image = _fitted(shown.path, grid.width - 2 * _FRAME, grid.height - 2 * _FRAME)
        left = x + (grid.width - image.width) // 2
        top = y + (grid.height - image.height) // 2
        box = (
            left - _FRAME,
            top - _FRAME,
            left + image.width + _FRAME,
            top + image.height + _FRAME,
        )
        self._draw.rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=shown.color)
        self._sheet.paste(image, (left, top))
        for line, (text, ink) in enumerate(_lines(shown, grid.width + _GAP - 4, self._font)):
            where = (x + grid.width / 2, y + grid.height + 3 + line * _LINE)
            self._draw.text(where, text, ink, self._font, anchor="ma")


def _lines(shown: SheetImage, width: float, font: ImageFont.FreeTypeFont) -> list[tuple[str, str]]:
    """Return the lines below an image, and their colors."""
    found = []
    for number, caption in enumerate(shown.captions):
        ink = _FAINT if number else _INK
        # An identity is a folder's name, which may hold anything.
        found += [(line, ink) for line in _folded(printable(caption), width, font) if line]
    return found


def _folded(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Return a text in lines of a width, the last one cut where there are too many."""
    lines = []
    while text and len(lines) < _MOST_LINES:
        is_last = len(lines) == _MOST_LINES - 1
        mark = "..." if is_last and font.getlength(text) > width else ""
        length = len(text)
        while length > 1 and font.getlength(text[:length] + mark) > width:
            length -= 1
        # After a space, or a mark that parts words in names, if there is one.
        ends = [i for i in range(1, length) if text[i - 1] in _ENDS]
        if not is_last and length < len(text) and ends and ends[-1] > length // 2:
            length = ends[-1]
        lines.append(text[:length].strip() + mark)
        text = text[length:]
    return lines


def _wrapped(text: str, width: float, font: ImageFont.FreeTypeFont) -> list[str]:
    """Return a sentence in lines of a width, whole: broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _grid(rows: Sequence[SheetRow], font: ImageFont.FreeTypeFont) -> _Grid:
    """Return cells of the usual shape of these images, all of one area."""
    images = [_read(row.query.path) for row in rows]
    shapes = [image.width / image.height for image in images if image is not None]
    # The median: one panorama among portraits should not flatten every cell.
    shape = min(max(median(shapes or [1]), _NARROWEST), _WIDEST)
    height = round((_AREA / shape) ** 0.5)
    width = max(round(height * shape), _CAPTION)
    every = (image for row in rows for image in (row.query, *row.found))
    lines = max(len(_lines(image, width + _GAP - 4, font)) for image in every)
    columns = max(len(row.found) for row in rows)
    return _Grid(width, height, lines, columns, len(rows))


def _fitted(path: Path, width: int, height: int) -> Image.Image:
    """Return the image in a file, as large as fits, not distorted; gray if it cannot be read."""
    image = _read(path)
    if image is None:
        return Image.new("RGB", (width, height), _MISSING)
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # With a gap Pillow first shrinks by whole factors, which is fast, and filters the rest.
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _read(path: Path) -> Image.Image | None:
    try:
        return read_image(path)
    except DataError:
        return None
