"""Pixels of JPEG files: whole, or at a half, a quarter or an eighth of their size.

A JPEG file holds the frequencies of blocks of 8 x 8 pixels. From the lower ones alone a smaller
image is made: what is shrunk anyway need not be decoded at its full size first.
"""

from math import prod

import numpy as np
import simplejpeg
from PIL import Image

DIVISORS = (8, 4, 2)
"""Numbers by which both sides can be divided, the largest first.

libjpeg-turbo has other fractions as well, which take longer than the next larger one of these: only
for these it has vector instructions."""

FINER = {"444": 1, "420": 1, "Gray": 1, "422": 2, "440": 2}
"""What the divisor is divided by, by the resolution of the colors; scaling others is left out.

libjpeg makes up for colors that are stored at half the resolution where that holds for both axes
alike; else they would come out at half the resolution that is asked for."""

CHANNELS = {"RGB": 3, "GRAY": 1}
FORMATS = frozenset({"JPEG", "MPO"})  # of several images in a file the first comes first
MODES = frozenset({"L", "RGB"})  # of Pillow: gray, and YCbCr or RGB

Size = tuple[int, int]
"""Height and width in pixels."""


def is_plain(image: Image.Image) -> bool:
    """Return whether an image that Pillow has opened is a JPEG in gray or color, not CMYK."""
    return image.format in FORMATS and image.mode in MODES and 0 not in image.size


def scaled(size: Size, divisor: int) -> Size:
    """Return height and width of an image that is decoded at a fraction of its size."""
    height, width = size
    return -(-height // divisor), -(-width // divisor)


class JpegDecoder:
    """Decodes JPEG files into memory that is used again for the next one.

    At full size the pixels are those of Pillow, bit for bit. New memory for a photograph takes a
    sixth of the time that it takes to decode it.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def __call__(
        self, data: bytes, size: Size, *, divisor: int = 1, gray: bool = False
    ) -> np.ndarray | None:
        """Decode an image.

        Args:
            data: The file.
            size: Height and width of the image, as Pillow reads them from the file.
            divisor: 1, or one of `DIVISORS`; the image is larger where `FINER` says so.
            gray: Whether the image is gray, and one channel is wanted.

        Returns:
            (height, width, channels) in uint8, valid until the next call; None for a file that is
            damaged, or is not what Pillow takes it for.
        """
        space = "GRAY" if gray else "RGB"
        try:
            height, width, _, chroma = simplejpeg.decode_jpeg_header(data)
            # The limits hold for the size that Pillow has found, which a hostile file may also
            # give otherwise: memory is not taken by what the decoder finds, but compared.
            if (height, width) != size:
                return None
            divisor = max(1, divisor // FINER[chroma]) if chroma in FINER else 1
            wanted = (*scaled(size, divisor), CHANNELS[space])
            pixels = simplejpeg.decode_jpeg(
                data,
                space,
                min_height=wanted[0],
                min_width=wanted[1],
                min_factor=divisor,
                buffer=self._memory_for(prod(wanted)),
            )
        except ValueError:  # also of damage that Pillow passes over
            return None
        return pixels if pixels.shape == wanted else None

    def _memory_for(self, values: int) -> np.ndarray:
        if len(self._memory) < values:
            self._memory = np.empty(values, np.uint8)
        return self._memory
