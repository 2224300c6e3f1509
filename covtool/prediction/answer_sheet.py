"""A picture of images with a model's answers below each."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from covtool.atomic import written_whole
from covtool.data.datasets.records.records import Records
from covtool.data.images.decoding import decoded, read_image
from covtool.errors import DataError
from covtool.prediction.image_inputs import Place, place_in
from covtool.prediction.rows import Prediction
from covtool.printable import printable

PICTURES = 40
"""Images of a sheet."""

COLUMNS = 8
CLASSES = 3
"""Classes of an image that a caption names."""

_PAPER, _INK, _FAINT, _MISSING, _BAR = "#FFFFFF", "#1C2126", "#6B747D", "#E8EAED", "#9CC9E8"
_AREA = 150 * 150
_NARROWEST, _WIDEST = 0.5, 1.6  # width over height of a picture
_CAPTION = 152  # width of a caption: of a narrow picture, it is wider than that
_GAP, _MARGIN = 16, 24
_WORDS = re.compile(r"[^ _/-]*[ _/-]|[^ _/-]+")  # a word with what ends it
_TITLE_SIZE, _TEXT_SIZE, _LINE = 19, 13, 17


@dataclass(frozen=True, slots=True)
class Answered:
    """An image and the answer for it."""

    place: Place
    prediction: Prediction


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
    font, title_font = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TITLE_SIZE)
    pictures = [_read(one.place, records) for one in answered]
    width, height = _cell(pictures)
    wide = max(width, _CAPTION)
    captions = [list(_caption(one.prediction, font, wide)) for one in answered]
    rows = [range(at, min(at + COLUMNS, len(answered))) for at in range(0, len(answered), COLUMNS)]
    columns = min(COLUMNS, max(1, len(answered)))
    inner = max(columns * (wide + _GAP) - _GAP, 3 * _CAPTION)
    left_out = total - len(answered)
    note = f"{len(answered):,} of {total:,} images" + (
        f"; {left_out:,} more are not shown" if left_out else ""
    )
    head = [*_wrapped(printable(title), title_font, inner)] if title else []
    top = _MARGIN + len(head) * (_LINE + 8) + _LINE + 10
    depths = [max(len(captions[one]) for one in row) * _LINE for row in rows]
    bottom = top + sum(height + depth + _GAP + 6 for depth in depths)
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, bottom + _MARGIN - _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(head):
        draw.text((_MARGIN, _MARGIN - 6 + number * (_LINE + 8)), text, _INK, title_font)
    draw.text((_MARGIN, top - _LINE - 12), note, _FAINT, font)
    y = top
    for row, depth in zip(rows, depths, strict=True):
        for column, one in enumerate(row):
            x = _MARGIN + column * (wide + _GAP)
            picture = _fitted(pictures[one], width, height)
            sheet.paste(
                picture, (x + (wide - picture.width) // 2, y + (height - picture.height) // 2)
            )
            _write(draw, font, captions[one], (x, y + height + 5), wide)
        y += height + depth + _GAP + 6
    # The format by name: the temporary file does not end in .png.
    with written_whole(path, overwrite=overwrite) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
    return path


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
        text = f"{probability:.1%} {printable(name, longest=300) or '(below the threshold)'}"
        first, *others = _wrapped(text, font, inner)
        ink = _FAINT if place else _INK
        yield _Line(first, ink, probability)
        yield from (_Line(text, ink) for text in others)


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
        picture = decoded(found).image if is_picture else read_image(found, exif=True)
    except DataError:
        return None
    picture.thumbnail((600, 600), reducing_gap=3.0)
    return picture
