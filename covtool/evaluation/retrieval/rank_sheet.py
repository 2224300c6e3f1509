"""A picture of queries with the images that a search found for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

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
_MARGIN = 24
_COLUMN_GAP = 22  # between a query and what was found for it
_TITLE_SIZE, _TEXT_SIZE = 19, 13
_LINE = 17


@dataclass(frozen=True, slots=True)
class _Grid:
    """Positions on the sheet, in pixels.

    Attributes:
        width: Width of an image's cell.
        height: Height of an image's cell, without the captions.
        columns: Matches of a query.
        rows: Number of queries.
    """

    width: int
    height: int
    columns: int
    rows: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        x, y = self.corner(self.rows, self.columns)
        return x + self.width + _MARGIN, y - _GAP + _MARGIN

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of a cell; column 0 is the query's."""
        gap = _COLUMN_GAP if column else 0
        x = _MARGIN + column * (self.width + _GAP) + gap
        return x, self.top + row * (self.height + 2 * _LINE + _GAP + 6)

    @property
    def top(self) -> int:
        """Upper edge of the first row of images."""
        return _MARGIN + 3 * _LINE + 14


def save_ranks(
    path: Path,
    result: RetrievalResult,
    query: Sequence[RetrievalSample],
    gallery: Sequence[RetrievalSample],
    *,
    title: str = "",
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
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    rows = select_queries(result, QUERIES)
    shown = [query[row] for row in rows]
    grid = _grid(shown, columns=result.matches.shape[1])
    sheet = Image.new("RGB", grid.size, _PAPER)
    pen = _Pen(sheet, grid)
    pen.write_head(title, f"{len(rows)} of {result.queries} queries")
    for place, (row, sample) in enumerate(zip(rows, shown, strict=True)):
        precision = result.average_precisions[row]
        pen.draw_image(sample, (place, 0), NEUTRAL, below=f"AP {precision:.1f} %")
        found = [gallery[image] for image in result.matches[row].tolist() if image >= 0]
        for rank, match in enumerate(found, start=1):
            # By identity alone: an image of the query's own camera is not in the ranking.
            color = RIGHT if match.identity == sample.identity else WRONG
            pen.draw_image(match, (place, rank), color)
    # The format by name: the temporary file does not end in .png.
    with written_whole(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


def select_queries(result: RetrievalResult, count: int) -> list[int]:
    """Return queries at equal distances among those that count, the first and the last included."""
    places = [row for row, found in enumerate(result.average_precisions) if found is not None]
    # Data sets list a person's images together: the first ten queries would show one or two.
    steps = torch.linspace(0, len(places) - 1, min(count, len(places)), dtype=torch.float64)
    return [places[step] for step in steps.round().long().tolist()]


class _Pen:
    """Draws on a sheet."""

    def __init__(self, sheet: Image.Image, grid: _Grid) -> None:
        self._sheet, self._grid = sheet, grid
        self._draw = ImageDraw.Draw(sheet)
        self._title_font = ImageFont.load_default(_TITLE_SIZE)
        self._font = ImageFont.load_default(_TEXT_SIZE)

    def write_head(self, title: str, subtitle: str) -> None:
        """Write the title, the legend and the numbers of the columns."""
        grid, y = self._grid, _MARGIN - 4
        x = _MARGIN
        title = printable(title)
        if title:
            self._draw.text((x, y), title, _INK, self._title_font)
            x += self._title_font.getlength(title) + 2 * _GAP
        self._draw.text((x, y + 4), subtitle, _FAINT, self._font)
        y += 2 * _LINE
        x = _MARGIN
        for color, text in ((NEUTRAL, "query"), (RIGHT, "same identity"), (WRONG, "another")):
            self._draw.rectangle((x, y + 3, x + 11, y + 14), fill=color)
            self._draw.text((x + 17, y), text, _FAINT, self._font)
            x += 17 + self._font.getlength(text) + 1.5 * _GAP
        for column in range(1, grid.columns + 1):
            x, top = grid.corner(0, column)
            self._draw.text(
                (x + grid.width / 2, top - _LINE - 2), str(column), _FAINT, self._font, anchor="ma"
            )

    def draw_image(
        self, sample: RetrievalSample, place: tuple[int, int], color: str, *, below: str = ""
    ) -> None:
        """Draw an image in its frame, with its labels below."""
        grid = self._grid
        x, y = grid.corner(*place)
        image = _fitted(sample.path, grid.width - 2 * _FRAME, grid.height - 2 * _FRAME)
        left = x + (grid.width - image.width) // 2
        top = y + (grid.height - image.height) // 2
        box = (
            left - _FRAME,
            top - _FRAME,
            left + image.width + _FRAME,
            top + image.height + _FRAME,
        )
        self._draw.rectangle((*box[:2], box[2] - 1, box[3] - 1), fill=color)
        self._sheet.paste(image, (left, top))
        camera = "" if sample.camera is None else f"camera {sample.camera}"
        second = "   ".join(filter(None, (below, camera)))
        for line, (text, ink) in enumerate([(sample.identity, _INK), (second, _FAINT)]):
            where = (x + grid.width / 2, y + grid.height + 3 + line * _LINE)
            self._draw.text(where, self._shortened(text), ink, self._font, anchor="ma")

    def _shortened(self, text: str) -> str:
        """Return as much of a text as is as wide as an image."""
        text = printable(text)  # an identity is a folder's name, which may hold anything
        width = self._grid.width + _GAP - 4
        if self._font.getlength(text) <= width:
            return text
        while text and self._font.getlength(text + "...") > width:
            text = text[:-1]
        return text + "..."


def _grid(queries: Sequence[RetrievalSample], *, columns: int) -> _Grid:
    """Return cells of the usual shape of these images, all of one area."""
    images = [_read(sample.path) for sample in queries]
    shapes = [image.width / image.height for image in images if image is not None]
    # The median: one panorama among portraits should not flatten every cell.
    shape = min(max(median(shapes or [1]), _NARROWEST), _WIDEST)
    height = round((_AREA / shape) ** 0.5)
    return _Grid(round(height * shape), height, columns, len(queries))


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
