"""The image formats that are read: those that Pillow decodes itself, and their suffixes."""

import re
from functools import cache
from typing import BinaryIO

from PIL import Image

from covtool.data.images.bounds import MOST_PIXELS, beyond, most_pixels, require_bounded

LEFT_ALONE = {
    "EPS": "Pillow starts Ghostscript for it, which runs what the file says",
    "WMF": "Windows draws it",
    "IPTC": "it wraps an image of any format, these among them",
    "MPEG": "Pillow reads its size only",
    "BUFR": "Pillow knows it by name only",
    "GRIB": "Pillow knows it by name only",
    "HDF5": "Pillow knows it by name only",
    "FPX": "the images in it are of any format",
    "MIC": "the images in it are of any format",
}
"""Formats that Pillow has a plugin for and that are never opened, and why."""

INSIDE = {"MPO": "JPEG"}
"""Formats that Pillow opens as another one: several JPEG images in a file, as of cameras."""

_NUMBER = re.compile(r"\d+")


@cache
def image_formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that may be opened, whatever a file's suffix is."""
    Image.init()
    named = set(Image.registered_extensions().values())
    names = [name for name in Image.ID if name in named and name not in LEFT_ALONE]
    # Formats without a test of the first bytes come last: they would take any file.
    return tuple(sorted(names, key=lambda name: Image.OPEN[name][1] is None))


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image in one of `image_formats`; nothing is decoded yet.

    Raises:
        ValueError: It would cost too much to decode; see `covtool.data.images.bounds`.
        Exception: It is damaged, or no image: a decoder may raise anything.
    """
    _let_pillow_open(most_pixels())
    try:
        image = Image.open(file, formats=image_formats())
    except Image.DecompressionBombError as problem:
        found = _NUMBER.search(str(problem))
        pixels = f"{int(found[0]):,}" if found else "too many"
        raise ValueError(f"it has {pixels} pixels, {beyond(most_pixels())}") from problem
    try:
        require_bounded(image, file)
    except ValueError:
        image.close()
        raise
    return image


def _let_pillow_open(pixels: int) -> None:
    """Raise Pillow's own bound where a higher one is asked for."""
    # Pillow warns above its number and refuses above twice that; ours is where it refuses.
    own = Image.MAX_IMAGE_PIXELS
    if own is not None and 2 * own < pixels != MOST_PIXELS:
        Image.MAX_IMAGE_PIXELS = -(-pixels // 2)


@cache
def image_suffixes() -> frozenset[str]:
    """Return the suffixes of image files, in lower case."""
    formats = set(image_formats())
    registered = Image.registered_extensions()
    return frozenset(s for s, name in registered.items() if INSIDE.get(name, name) in formats)
