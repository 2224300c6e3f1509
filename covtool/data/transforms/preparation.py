"""Evaluation's preparation of single images, for programs that run a model themselves."""

import io
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from torch import Tensor

from covtool.data.images.bounds import MOST_BYTES
from covtool.data.images.decoding import as_rgb, read_image
from covtool.data.transforms.from_timm import Transform, evaluation_pixels
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.errors import ArgumentError
from covtool.specs import InputSpec

_MOST = 16  # preparations that are kept built


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares an image as `covtool evaluate` does, bit for bit on the CPU.

    Attributes:
        input: The images that the model expects.

    Example:
        >>> Preparation(InputSpec(size=(64, 32)))(Image.new("RGB", (300, 200))).shape
        torch.Size([3, 64, 32])
    """

    input: InputSpec

    def __call__(self, image: Image.Image | str | PathLike[str] | BinaryIO) -> Tensor:
        """Return an image as the network takes it.

        It becomes 8-bit RGB or gray without transparency, is turned by its EXIF orientation where
        the model's images are, resized, cropped and normalized.

        Args:
            image: A picture of Pillow's, which stays as it is; a path; or a file that is open for
                reading, from whose beginning it is read.

        Returns:
            Tensor of shape (channels, height, width) in float32; a batch is
            ``torch.stack([model.transform(image) for image in images])``.

        Raises:
            DataError: The image cannot be read.
            ArgumentError: It is something else, or the model takes neither gray nor RGB images.
        """
        to_pixels, normalize = _built(self.input)
        return normalize(to_pixels(self._decoded(image)).unsqueeze(0))[0]

    def _decoded(self, image: Image.Image | str | PathLike[str] | BinaryIO) -> Image.Image:
        gray, exif = self.input.channels == 1, self.input.exif
        if isinstance(image, Image.Image):
            return as_rgb(image, gray=gray, exif=exif)
        if isinstance(image, str | PathLike):
            return read_image(Path(image), gray=gray, exif=exif)
        return read_image(_whole(image), gray=gray, exif=exif)


@dataclass(frozen=True, slots=True)
class _Content:
    """The bytes of an open file, with the methods of a `Path` with which images are read."""

    data: bytes
    name: str

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return the bytes, as a file of their own."""
        return io.BytesIO(self.data)

    def __str__(self) -> str:
        return self.name


def _whole(file: BinaryIO) -> Any:
    """Read an open file from its beginning, as Pillow does; where it cannot go back, from here."""
    if not hasattr(file, "read"):
        raise ArgumentError(
            f"A {type(file).__name__} is not an image.",
            hint="Give a picture of Pillow's (PIL.Image.fromarray makes one of an array), a path, "
            "or an open file.",
        )
    if getattr(file, "seekable", bool)():
        file.seek(0)
    data = file.read(MOST_BYTES + 1)
    if not isinstance(data, bytes):
        raise ArgumentError("The file is open as text.", hint='Open it with mode "rb".')
    return _Content(data, str(getattr(file, "name", "in the open file")))


@lru_cache(_MOST)
def _built(input: InputSpec) -> tuple[Transform, Normalization]:
    return evaluation_pixels(input), normalization(input)
