"""Image files: which they are, and how one is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from covtool.data.dim_images import is_dim
from covtool.data.image_formats import image_suffixes, open_image
from covtool.data.orientation import turn_of
from covtool.errors import DataError

WHITE, WHITE_16 = 255, 65535
SCALED_TO_16_BITS = ("PNG", "PPM")  # Pillow's mode for them may have 32 bits, their values have 16
SAVE_AGAIN = "save it with 8 or 16 bits a pixel"

# What Pillow raises on files that are truncated, damaged, too large or not images.
READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; hidden files (``._x.jpg``) are not."""
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


class Decoded(NamedTuple):
    """An image, whether its EXIF data tell that it is to be turned, and `is_dim` of the file."""

    image: Image.Image
    has_turn: bool
    is_dim: bool = False


def read_image(path: Path, *, gray: bool = False, exif: bool = False) -> Image.Image:
    """The image in a file; see `decode_image`."""
    return decode_image(path, gray=gray, exif=exif).image


def decode_image(path: Path, *, gray: bool = False, exif: bool = False) -> Decoded:
    """The image in a file, decoded whole, as 8-bit RGB; the first of several.

    Transparency is dropped, 16-bit gray is scaled to 8 bits, CMYK and palettes are converted.

    Args:
        path: The file, or a `covtool.data.records.RecordPath`.
        gray: Take the luminance, in three equal channels.
        exif: Turn it as its EXIF data tell. timm does not: published figures are without.

    Raises:
        DataError: The file is missing, truncated or not an image, or nobody knows what its pixels
            mean; it names the file.
    """
    with _explained(path), path.open("rb") as file, open_image(file) as image:
        image.load()
        dim, rgb, turn = is_dim(image), _to_rgb(image), turn_of(image)
    if exif and turn is not None:
        rgb = rgb.transpose(turn)
    return Decoded(rgb.convert("L").convert("RGB") if gray else rgb, turn is not None, dim)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the image in a file as it is stored, from its header.

    Raises:
        DataError: As `read_image`, as far as the header tells.
    """
    with _explained(path), path.open("rb") as file, open_image(file) as image:
        return image.size


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except READ_ERRORS as problem:
        raise DataError(
            f"The image {path} cannot be read.",
            reason=_reason(path, problem),
            hint="Replace or remove it, or add --on-bad-image skip.",
        ) from problem


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion cuts values off at 255
        image = Image.fromarray(_in_8_bits(image))
    elif image.mode == "F":
        raise ValueError(f"its pixels are floating-point numbers of unknown range: {SAVE_AGAIN}")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when this step is left out
    return image.convert("RGB")


def _in_8_bits(image: Image.Image) -> np.ndarray:
    """Gray of 16 bits a pixel, scaled; of 32 bits, where the values can only be such."""
    values = np.asarray(image).astype(np.float64)
    in_16_bits = image.mode != "I" or image.format in SCALED_TO_16_BITS
    if not in_16_bits and not (values.min() >= 0 and WHITE < values.max() <= WHITE_16):
        raise ValueError(
            f"its pixels are 32-bit numbers of unknown range, here {values.min():.0f} to "
            f"{values.max():.0f}: {SAVE_AGAIN}"
        )
    return (values.clip(0, WHITE_16) / (WHITE_16 / WHITE)).round().astype(np.uint8)


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "There is no such file."
    if path.exists() and path.stat().st_size == 0:
        return "The file is empty."
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    if text.startswith("cannot identify image file"):
        with path.open("rb") as file:
            begins = file.read(200).lstrip().lower()
        if begins.startswith(b"version https://git-lfs"):
            return "It only points to the image, which git lfs pull would fetch."
        if begins.startswith((b"<!doctype html", b"<html")):
            return "It is a web page, as of a download that failed."
        return "It is not an image, whatever its name says."
    return text[:1].upper() + text[1:].rstrip(".") + "."
