"""Bounds of an image: its pixels, its bytes, its scans, and how many large ones at once.

A few bytes can ask for any amount of memory or time. What is beyond these bounds is an image that
cannot be read, like one that is damaged.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

from covtool.errors import ArgumentError

MOST_PIXELS = 178_956_970
"""Pixels of an image, where no other bound is set: what Pillow opens at most. Cameras have up to
151 million; 4 bytes each, in up to three copies while an image is converted."""

SLOWER_IN_PYTHON = 32
"""How many times fewer pixels a format may have that Pillow decodes in Python, pixel by pixel: of
MOST_PIXELS 5.6 million, which take up to 13 s."""

SLOWER_ANIMATED = 4
"""How many times fewer an animated WebP may have, of which every canvas is put together."""

MOST_BYTES = 1 << 31
"""Bytes of an image file."""

MOST_SCANNED = 1 << 32
"""Pixels of a progressive JPEG times its scans, each of which goes over all pixels; about 4 s."""

LARGE = 1 << 25
"""Pixels from which on only one image is decoded at a time in a process."""

LARGE_FILE = 1 << 28
"""Bytes of a file from which on the same holds: some decoders read it whole."""

VARIABLE = "COVTOOL_MAX_IMAGE_PIXELS"
"""The environment variable that holds another bound, for a process and those that it starts."""

_FEWEST_SCANNED = 1 << 12  # pixels that a scan of a small image counts for
_SCAN = b"\xff\xda"
_CHUNK = 1 << 20
_alone = threading.RLock()  # re-entrant: a large file may hold a large image


def most_pixels() -> int:
    """Return the number of pixels above which an image is not decoded.

    Raises:
        ArgumentError: The environment sets it to something else than a number.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MOST_PIXELS
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19 and int(text)):
        raise ArgumentError(f"{VARIABLE} must be a number of pixels, but it is {text[:50]!r}.")
    return int(text)


@contextmanager
def pixels_up_to(number: int) -> Iterator[None]:
    """Let `most_pixels` be another number, in this process and those that it starts meanwhile."""
    before = os.environ.get(VARIABLE, "")
    os.environ[VARIABLE] = str(number)  # not a global: worker processes inherit it
    try:
        yield
    finally:
        os.environ[VARIABLE] = before


def require_bounded(image: Image.Image, file: BinaryIO) -> None:
    """Refuse an opened image that would cost too much to decode.

    Raises:
        ValueError: It has too many pixels or too many scans.
    """
    width, height = image.size
    most, pixels = most_pixels(), width * height
    if pixels > most:
        raise ValueError(f"it has {width:,} x {height:,} pixels, {beyond(most)}")
    slower = _slower(image)
    if pixels * slower > most:
        raise ValueError(
            f"it has {width:,} x {height:,} pixels, {beyond(most // slower)} of a {image.format} "
            "like this one, which takes long"
        )
    if image.info.get("progressive"):
        scans = _count(_SCAN, file)
        if scans * max(pixels, _FEWEST_SCANNED) > MOST_SCANNED:
            raise ValueError(f"it has {scans:,} scans of {width:,} x {height:,} pixels")


def beyond(most: int) -> str:
    """Return the end of a message about an image with too many pixels."""
    return f"more than the {most:,} that are decoded at most (--max-image-pixels)"


def require_bounded_file(file: BinaryIO) -> int:
    """Return the size of an open file in bytes.

    Raises:
        ValueError: It is larger than `MOST_BYTES`.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than {MOST_BYTES:,}, the most that is read")
    return size


@contextmanager
def alone(is_large: bool) -> Iterator[None]:
    """Wait until no other thread decodes a large image, where this one is large."""
    if not is_large:
        yield
        return
    with _alone:
        yield


def _slower(image: Image.Image) -> int:
    """Return how many times longer than usual a pixel takes to decode."""
    if any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ())):
        return SLOWER_IN_PYTHON
    return SLOWER_ANIMATED if image.format == "WEBP" and image.is_animated else 1


def _count(wanted: bytes, file: BinaryIO) -> int:
    """Return how often some bytes occur in a file, whose position stays."""
    position, found, last = file.tell(), 0, b""
    file.seek(0)
    while chunk := file.read(_CHUNK):
        found += (last + chunk).count(wanted)
        last = chunk[-1:]  # the marker may lie across two chunks
    file.seek(position)
    return found


def _forget() -> None:
    """Replace the lock in a forked process."""
    # The thread that held it at the fork does not exist there, and would never release it.
    global _alone
    _alone = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
