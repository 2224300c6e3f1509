"""Image files: which they are, and how one is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from covtool.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

# What Pillow raises on files that are truncated, damaged, too large or not images.
READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def is_image(path: Path) -> bool:
    """Whether the name is that of an image; hidden files (``._x.jpg``) are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, *, gray: bool = False) -> Image.Image:
    """The image in a file, decoded whole, as 8-bit RGB.

    Transparency is dropped, 16-bit gray is scaled to 8 bits, CMYK and palettes are converted. The
    orientation in EXIF data is not applied: timm does not, so published weights and figures
    were made without it.

    Args:
        path: The file, or a `covtool.data.records.RecordPath`.
        gray: Take the luminance, in three equal channels.

    Raises:
        DataError: The file is missing, truncated or not an image; it names the file.
    """
    with _explained(path), path.open("rb") as file, Image.open(file) as image:
        image.load()
        rgb = _to_rgb(image)
    return rgb.convert("L").convert("RGB") if gray else rgb


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of the image in a file, from its header: nothing is decoded.

    Raises:
        DataError: As `read_image`, as far as the header tells.
    """
    with _explained(path), path.open("rb") as file, Image.open(file) as image:
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
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion cuts them off at 255
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values.clip(0, 65535) / 257).round().astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of unknown range")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when this step is left out
    return image.convert("RGB")


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "There is no such file."
    if path.exists() and path.stat().st_size == 0:
        return "The file is empty."
    text = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    if text.startswith("cannot identify image file"):
        return "It is not an image, whatever its name says."
    return text[:1].upper() + text[1:].rstrip(".") + "."
