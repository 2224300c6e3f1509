"""The inside of a bounding box of an image, as if it were a file of its own."""

import io
from dataclasses import dataclass
from math import ceil, floor
from os import stat_result
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from covtool.data.images.decoding import opened_image


@dataclass(frozen=True, slots=True)
class BoxedImage:
    """A part of an image, with the methods of a `Path` with which images are read.

    Attributes:
        path: The file.
        box: Left, upper, right and lower edge in pixels as they are stored; cut at the image's
            own edges.
    """

    path: Path
    box: tuple[float, float, float, float]

    def open(self, mode: str = "rb") -> BinaryIO:
        """Encode the part as a PNG, losslessly, with the EXIF data of the image.

        Raises:
            DataError: The file is no image, or nothing of it is in the box.
        """
        with opened_image(self.path) as image:
            part, exif = image.crop(self._pixels(image)), image.getexif().tobytes()
        # Modes that PNG cannot hold, CMYK and YCbCr of JPEG among them.
        if part.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
            part = part.convert("RGB")
        written = io.BytesIO()
        part.save(written, format="png", compress_level=1, exif=exif)
        written.seek(0)  # a reader begins where the writer stopped
        return written

    def is_file(self) -> bool:
        """Return whether the image is there."""
        return self.path.is_file()

    def exists(self) -> bool:
        """Return whether the image is there."""
        return self.path.exists()

    def stat(self) -> stat_result:
        """Return the state of the file."""
        return self.path.stat()

    def __fspath__(self) -> str:
        return f"{self.path}[{','.join(f'{edge:g}' for edge in self.box)}]"

    def __str__(self) -> str:
        return self.__fspath__()

    def __lt__(self, other: "BoxedImage") -> bool:
        return str(self) < str(other)

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    def _pixels(self, image: Image.Image) -> tuple[int, int, int, int]:
        left, upper, right, lower = self.box
        edges = (
            max(floor(left), 0),
            max(floor(upper), 0),
            min(ceil(right), image.width),
            min(ceil(lower), image.height),
        )
        if edges[0] >= edges[2] or edges[1] >= edges[3]:
            raise ValueError(f"its bounding box {self.box} has nothing of its {image.size} pixels")
        return edges
