"""A picture of images with a model's answers below each."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from covtool.atomic import written_whole
from covtool.data.datasets.records.records import Records
from covtool.data.images.decoding import decode_picture, read_image
from covtool.errors import DataError
from covtool.prediction.image_inputs import Place, place_in
from covtool.prediction.rows import Prediction
from covtool.printable import printable

PICTURES = 40
"""Images of a sheet."""

COLUMNS = 8
CLASSES = 3
"""Classes of an image that a caption names."""

_PAPER, _INK, _FAINT, _MISSING, _BAR = "#FFFFFF", "#1C2126", "#6B747D", "#E8EAED", "#CFE5F5"
_AREA = 150 * 150
_NARROWEST, _WIDEST = 0.5, 1.6  # width over height of a picture
_CAPTION = 152  # width of a caption: of a narrow picture, it is wider than that
_GAP, _MARGIN = 16, 24
_WORDS = re.compile(r"[^ _/-]*[ _/-]|[^ _/-]+")  # a word with what ends it
_TITLE_SIZE, _TEXT_SIZE, _LINE, _TITLE_LINE = 19, 13, 17, 25


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture and the answer for it.

    Attributes:
        place: The image.
        prediction: The answer.
        is_map: Whether it is a map of the image before it, not one more image.
    """

    place: Place
    prediction: Prediction
    is_map: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a caption.

    Attributes:
        text: Text that fits into the caption's width.
        ink: Color of the text.
        share: Share of the width that a bar behind the text has.
    """

    text: str
    ink: str
    share: float = 0.0


class _Fonts(NamedTuple):
    title: ImageFont.FreeTypeFont
    text: ImageFont.FreeTypeFont


@dataclass(frozen=True, slots=True)
class _Grid:
    """Positions of pictures with captions of any depth.

    Attributes:
        wide: Width of a picture with its caption.
        height: Height of a picture.
        lines: Lines of each caption.
    """

    wide: int
    height: int
    lines: tuple[int, ...]

    @property
    def inner(self) -> int:
        """Width of all columns."""
        columns = min(COLUMNS, max(1, len(self.lines)))
        return max(columns * (self.wide + _GAP) - _GAP, 3 * _CAPTION)

    @property
    def depth(self) -> int:
        """Height of all rows."""
        return sum(self._depths)

    @property
    def _depths(self) -> list[int]:
        rows = [self.lines[at : at + COLUMNS] for at in range(0, len(self.lines), COLUMNS)]
        return [self.height + max(row) * _LINE + _GAP + 6 for row in rows]

    def corners(self, top: int) -> Iterator[tuple[int, int]]:
        """Yield the upper left corner of each picture's place, below `top`."""
        for place in range(len(self.lines)):
            row, column = divmod(place, COLUMNS)
            yield _MARGIN + column * (self.wide + _GAP), top + sum(self._depths[:row])


def save_answers(
    path: Path,
    answered: Sequence[Answered],
    records: Sequence[Records] = (),
    *,
    title: str = "",
    total: int,
    overwrite: bool = True,
) -> Path:
    """Draw images with their most probable classes.

    Captions are wrapped, never cut off. Behind each class is a bar as long as it is probable. An
    image that cannot be read is left gray, with the reason.

    Args:
        path: PNG file to write.
        answered: The images, `PICTURES` at most.
        records: Records that some of them are in.
        title: Title of the sheet.
        total: Number of all images, for the line on how many are not shown.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: There is one, and `overwrite` is False.
        SaveError: The file cannot be written.
    """
    fonts = _Fonts(ImageFont.load_default(_TITLE_SIZE), ImageFont.load_default(_TEXT_SIZE))
    pictures = [_read(one.place, records) for one in answered]
    width, height = _cell(pictures)
    wide = max(width, _CAPTION)
    captions = [list(_caption(one.prediction, fonts.text, wide)) for one in answered]
    grid = _Grid(wide, height, tuple(map(len, captions)))
    head = _wrapped(printable(title), fonts.title, grid.inner)
    top = _MARGIN + len(head) * _TITLE_LINE + _LINE + 10
    sheet = Image.new("RGB", (grid.inner + 2 * _MARGIN, top + grid.depth + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write_head(draw, fonts, head, _note(sum(not one.is_map for one in answered), total))
    for picture, caption, (x, y) in zip(pictures, captions, grid.corners(top), strict=True):
        image = _fitted(picture, width, height)
        sheet.paste(image, (x + (wide - image.width) // 2, y + (height - image.height) // 2))
        _write(draw, fonts.text, caption, (x, y + height + 5), wide)
    # The format by name: the temporary file does not end in .png.
    with written_whole(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


def _note(count: int, total: int) -> str:
    if count == total:
        return "1 image" if total == 1 else f"{total:,} images"
    return f"{count:,} of {total:,} images; {total - count:,} more are not shown"


def _write_head(draw: ImageDraw.ImageDraw, fonts: _Fonts, title: Sequence[str], note: str) -> None:
    y = _MARGIN - 6
    for line in title:
        draw.text((_MARGIN, y), line, _INK, fonts.title)
        y += _TITLE_LINE
    draw.text((_MARGIN, y + 2), note, _FAINT, fonts.text)


def _write(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    lines: Sequence[_Line],
    corner: tuple[int, int],
    width: int,
) -> None:
    x, y = corner
    for line in lines:
        if line.share > 0:
            draw.rectangle((x, y, x + round(line.share * (width - 1)), y + _LINE - 3), fill=_BAR)
        draw.text((x + 2, y), line.text, line.ink, font)
        y += _LINE


def _caption(prediction: Prediction, font: ImageFont.FreeTypeFont, width: int) -> Iterator[_Line]:
    inner = width - 4
    name = printable(Path(prediction.path).name, longest=300)
    yield from (_Line(text, _FAINT) for text in _wrapped(name, font, inner))
    if prediction.error:
        reason = printable(prediction.error, longest=300)
        yield from (_Line(text, _INK) for text in _wrapped(reason, font, inner))
        return
    pairs = zip(prediction.classes, prediction.probabilities, strict=True)
    for place, (name, probability) in enumerate(pairs):
        if place == CLASSES:
            break
        text = f"{probability:.1%} {printable(name, longest=300) or '(no answer)'}"
        first, *others = _wrapped(text, font, inner)
        ink = _FAINT if place else _INK
        yield _Line(first, ink, probability)
        yield from (_Line(text, ink) for text in others)
    if prediction.distance is not None:
        yield _Line(f"distance {prediction.distance:.3f}", _FAINT)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Return a text in lines of a width: broken where a word ends, else within one."""
    lines, line = [], ""
    for word in _WORDS.findall(text) or [""]:
        if font.getlength((line + word).rstrip()) <= width:
            line += word
            continue
        lines += [line.rstrip()] if line else []
        line = ""
        for character in word:
            if line and font.getlength(line + character) > width:
                lines.append(line)
                line = ""
            line += character
    return [*lines, line.rstrip()]


def _cell(pictures: Sequence[Image.Image | None]) -> tuple[int, int]:
    """Return width and height of a picture's place: the usual shape, all of one area."""
    shapes = [picture.width / picture.height for picture in pictures if picture is not None]
    shape = min(max(median(shapes or [1]), _NARROWEST), _WIDEST)
    height = round((_AREA / shape) ** 0.5)
    return round(height * shape), height


def _fitted(picture: Image.Image | None, width: int, height: int) -> Image.Image:
    """Return a picture as large as fits, not distorted; gray where there is none."""
    if picture is None:
        return Image.new("RGB", (width, height), _MISSING)
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _read(place: Place, records: Sequence[Records]) -> Image.Image | None:
    """Return a picture, no larger than a sheet needs: forty photographs are a gigabyte."""
    found = place_in(place, records)
    try:
        is_picture = isinstance(found, Image.Image)
        picture = decode_picture(found).image if is_picture else read_image(found, exif=True)
    except DataError:
        return None
    picture.thumbnail((600, 600), reducing_gap=3.0)
    return picture
