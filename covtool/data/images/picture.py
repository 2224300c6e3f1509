"""An image that was read: its size is known, its pixels are decoded once it is clear how."""

from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from covtool.data.images.bounds import LARGE, alone
from covtool.data.images.decoding import decode_image, decoded_in, opened_image
from covtool.data.images.jpeg import JpegDecoder, Size, is_plain
from covtool.data.images.orientation import SIDEWAYS, Turn, turn_of


class Picture(Protocol):
    """An image, upright where that is asked for.

    Attributes:
        size: Height and width of the whole image.
        encoded: Bytes of a JPEG file, which can be decoded at a fraction of its size; else 0.
    """

    size: Size
    encoded: int

    def pixels(self, divisor: int = 1) -> np.ndarray:
        """Decode the image.

        Args:
            divisor: Number by which height and width are divided, of `covtool.data.images.jpeg`.
                The image is larger where its colors need that, and has its full size where it
                cannot be scaled or is damaged.

        Returns:
            (height, width, channels) in uint8, valid until another image is decoded: those that
            `decode_image` gives, where the size is the full one. Gray ones have one channel.

        Raises:
            DataError: As `decode_image`.
        """


def read_picture(
    path: Path, decoder: JpegDecoder, *, gray: bool = False, exif: bool = False
) -> Picture:
    """Read an image file.

    Args:
        path: The file, or what is read like one.
        decoder: Decoder of JPEG files.
        gray: Whether the luminance is wanted.
        exif: Whether the image is turned by its EXIF orientation.

    Raises:
        DataError: As `decode_image`, as far as the file is decoded here.
    """
    with opened_image(path) as image:
        if is_plain(image):
            return JpegPicture(path, image, decoder, gray=gray, exif=exif)
        # The size of other formats may be known for sure only once they are decoded.
        return DecodedPicture(decoded_in(image, gray=gray, exif=exif).image, gray=gray)


class DecodedPicture:
    """A picture that is decoded already.

    Args:
        image: What `decode_image` returns.
        gray: Whether one of its three channels is enough.
    """

    encoded = 0

    def __init__(self, image: Image.Image, *, gray: bool) -> None:
        self._pixels = pixels_of(image.getchannel(0) if gray else image)
        self.size: Size = self._pixels.shape[:2]

    def pixels(self, divisor: int = 1) -> np.ndarray:
        return self._pixels


class JpegPicture:
    """A picture in a JPEG file.

    Args:
        path: The file.
        image: Image that `opened_image` has opened; it need not stay open.
        decoder: Decoder of JPEG files.
        gray: Whether the luminance is wanted.
        exif: Whether it is turned by its EXIF orientation.
    """

    def __init__(
        self, path: Path, image: Image.Image, decoder: JpegDecoder, *, gray: bool, exif: bool
    ) -> None:
        self._path, self._decoder, self._gray, self._exif = path, decoder, gray, exif
        self._turn: Turn | None = turn_of(image) if exif else None
        self._stored: Size = image.height, image.width
        self._is_gray = gray and image.mode == "L"
        image.fp.seek(0)
        self._data = image.fp.read()
        self.encoded = len(self._data)
        self.size: Size = self._stored[::-1] if self._turn in SIDEWAYS else self._stored

    def pixels(self, divisor: int = 1) -> np.ndarray:
        with alone(self._stored[0] * self._stored[1] > LARGE):
            pixels = self._decoder(self._data, self._stored, divisor=divisor, gray=self._is_gray)
        if pixels is None:  # Pillow decides whether it can be read, and says what is wrong
            decoded = decode_image(self._path, gray=self._gray, exif=self._exif).image
            return DecodedPicture(decoded, gray=self._gray).pixels()
        if self._turn is None and self._is_gray == self._gray:
            return pixels
        image = as_image(pixels).convert("L" if self._gray else "RGB")
        return pixels_of(image if self._turn is None else image.transpose(self._turn))


def as_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels, (height, width, 1 or 3) in uint8, as an image of Pillow's."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def pixels_of(image: Image.Image) -> np.ndarray:
    """Return the inverse of `as_image`, in memory of its own."""
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
