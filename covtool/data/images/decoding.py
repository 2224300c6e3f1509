"""Reading of image files: their names, their sizes, and their pixels as 8-bit RGB."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from covtool.data.images.bounds import LARGE, LARGE_FILE, alone, require_bounded_file
from covtool.data.images.decoder_complaints import complaints
from covtool.data.images.dim import is_dim
from covtool.data.images.formats import image_suffixes, open_image
from covtool.data.images.frames import has_frames
from covtool.data.images.orientation import turn_of
from covtool.errors import CovtoolError, DataError
from covtool.printable import printable
from covtool.regular_files import opened

WHITE, WHITE_16 = 255, 65535
SCALED_TO_16_BITS = ("PNG", "PPM")  # Pillow's mode for them may have 32 bits, their values have 16
SAVE_AGAIN = "save it with 8 or 16 bits a pixel"

ROWS = 256  # of an image with more than 8 bits that are scaled at a time

SENTENCES = (OSError, SyntaxError, ValueError, EOFError, RuntimeError)
"""Errors of decoders whose text is a sentence; the text of a KeyError, for one, is a key."""


def is_image(path: Path) -> bool:
    """Return whether the name is that of an image; hidden files (``._x.jpg``) are not."""
    return is_image_name(path.name)


def is_image_name(name: str) -> bool:
    """Return whether a name without folders is that of an image, as `is_image`."""
    # macOS writes such files beside the images of an archive: metadata, with the image's suffix.
    stem, dot, suffix = name.rpartition(".")
    # As `Path.suffix`, which takes longer than all else where there are millions.
    return bool(stem and suffix) and f"{dot}{suffix}".lower() in image_suffixes() and name[0] != "."


class Decoded(NamedTuple):
    """An image, whether its EXIF orientation would turn it, `is_dim`, `has_frames`, its format."""

    image: Image.Image
    has_turn: bool
    is_dim: bool = False
    has_frames: bool = False
    format: str = ""


def read_image(path: Path, *, gray: bool = False, exif: bool = False) -> Image.Image:
    """Return the image in a file; see `decode_image`."""
    return decode_image(path, gray=gray, exif=exif).image


def decode_image(path: Path, *, gray: bool = False, exif: bool = False) -> Decoded:
    """Return the image in a file, decoded whole, as 8-bit RGB; the first of several.

    Transparency is dropped, 16-bit gray is scaled to 8 bits, CMYK and palettes are converted.

    Args:
        path: The file, or a `covtool.data.datasets.records.records.RecordPath`.
        gray: Whether the result is the luminance, in three equal channels.
        exif: Whether the image is turned by its EXIF orientation. timm does not, so published
            figures are without.

    Raises:
        DataError: The file is missing, truncated or not an image, or the range of its pixels is
            unknown; it names the file.
    """
    with opened_image(path) as image:
        return decoded_in(image, gray=gray, exif=exif)


def decoded_in(image: Image.Image, *, gray: bool = False, exif: bool = False) -> Decoded:
    """Return an image that `opened_image` has opened, as `decode_image` does."""
    with alone(image.width * image.height > LARGE):
        return _decoded(image, gray=gray, exif=exif)


def decode_picture(picture: Image.Image, *, gray: bool = False, exif: bool = False) -> Decoded:
    """Return a picture that a program has opened or made as `decode_image` returns that of a file.

    Raises:
        DataError: It has no pixels, its file is truncated, or the range of its pixels is unknown.
    """
    try:
        with complaints() as found, alone(picture.width * picture.height > LARGE):
            decoded = _decoded(picture, gray=gray, exif=exif)
            found.require_none(picture)
    except Exception as problem:
        name = printable(str(getattr(picture, "filename", ""))) or f"of mode {picture.mode}"
        raise DataError(f"The picture {name} cannot be read.", reason=_said(problem)) from problem
    return decoded


def as_rgb(picture: Image.Image, *, gray: bool = False, exif: bool = False) -> Image.Image:
    """Return `decode_picture`'s image alone.

    Raises:
        DataError: As `decode_picture`.
    """
    return decode_picture(picture, gray=gray, exif=exif).image


def _decoded(image: Image.Image, *, gray: bool, exif: bool) -> Decoded:
    if 0 in image.size:
        raise ValueError("it has no pixels")
    _require_covered(image)
    image.load()  # to the end: only then a truncated file is noticed
    dim, rgb, turn = is_dim(image), _to_rgb(image), turn_of(image)
    frames = has_frames(image)  # last: it looks for the second image
    if exif and turn is not None:
        rgb = rgb.transpose(turn)
    rgb = rgb.convert("L").convert("RGB") if gray else rgb
    return Decoded(rgb, turn is not None, dim, frames, image.format or "")


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of the image in a file as it is stored, from its header.

    Raises:
        DataError: As `read_image`, as far as the header tells.
    """
    with opened_image(path) as image:
        return image.size


def bytes_of(path: Path) -> BinaryIO:
    """Return the bytes of an image, wherever it is, open for reading.

    Raises:
        OSError: There is none, or it is not a regular file; see `covtool.regular_files`.
    """
    return opened(path) if isinstance(path, Path) else path.open("rb")


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image, and raise one error for whatever is wrong with it until the block ends.

    Decoders raise anything on bytes that they do not expect, and not all of it is an `OSError`.

    Raises:
        DataError: As `decode_image`, as far as the block reads the image.
    """
    try:
        with (
            complaints() as found,
            bytes_of(path) as file,
            alone(require_bounded_file(file) > LARGE_FILE),
            open_image(file) as image,
        ):
            yield image
            found.require_none(image)
    except CovtoolError:
        raise
    except Exception as problem:
        raise DataError(
            f"The image {printable(str(path))} cannot be read.",
            reason=_reason(path, problem),
            hint="Replace or remove it, or add --on-bad-image skip.",
        ) from problem


def _require_covered(image: Image.Image) -> None:
    """Refuse a TIFF whose strips end before it does: Pillow leaves the rest black."""
    # Sorted, as Pillow turns a TIFF by its orientation: the size is that of the turned image, the
    # extents of the strips are as they are stored.
    ends = [part[1] for part in image.tile] if image.format == "TIFF" else []
    reached = [max(end[2] for end in ends), max(end[3] for end in ends)] if ends else []
    if ends and sorted(reached) != sorted(image.size):
        raise ValueError("its strips have less than its {:,} x {:,} pixels".format(*image.size))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # Pillow's own conversion clips values at 255: all white
        image = Image.fromarray(_in_8_bits(image))
    elif image.mode == "F":
        raise ValueError(f"its pixels are floating-point numbers of unknown range: {SAVE_AGAIN}")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when this step is left out
    return image.convert("RGB")


def _in_8_bits(image: Image.Image) -> np.ndarray:
    """Scale gray of 16 bits a pixel to 8 bits; of 32 bits where its values fit into 16."""
    values = np.asarray(image)
    in_16_bits = image.mode != "I" or image.format in SCALED_TO_16_BITS
    if not in_16_bits and not (values.min() >= 0 and WHITE < values.max() <= WHITE_16):
        raise ValueError(
            f"its pixels are 32-bit numbers of unknown range, here {values.min():.0f} to "
            f"{values.max():.0f}: {SAVE_AGAIN}"
        )
    scaled = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), ROWS):  # in float64 at once they would take eight times more
        part = values[top : top + ROWS].astype(np.float64).clip(0, WHITE_16)
        scaled[top : top + ROWS] = (part / (WHITE_16 / WHITE)).round()
    return scaled


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "There is no such file."
    begins = _beginning(path)
    if begins == b"":
        return "The file is empty."
    if isinstance(problem, UnidentifiedImageError):
        begins = (begins or b"").lstrip().lower()
        if begins.startswith(b"version https://git-lfs"):
            return "It only points to the image, which git lfs pull would fetch."
        if begins.startswith((b"<!doctype html", b"<html")):
            return "It is a web page, as of a download that failed."
        return "It is not an image, whatever its name says."
    if isinstance(problem, MemoryError):
        return "There is not enough memory to decode it."
    return _said(problem)


def _said(problem: Exception) -> str:
    """Return what a decoder says about an image, as a sentence."""
    text = " ".join((getattr(problem, "strerror", None) or str(problem)).split())
    if not isinstance(problem, SENTENCES) or not text:
        text = f"It is damaged ({type(problem).__name__}{': ' if text else ''}{text})"
    text = printable(text)
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _beginning(path: Path) -> bytes | None:
    """Return the first bytes of what should be an image; None where they cannot be read."""
    try:
        with bytes_of(path) as file:
            return file.read(200)
    except (OSError, ValueError, CovtoolError):
        return None
