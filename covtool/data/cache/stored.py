"""Images of different sizes in one row of bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


class ImageLocation(NamedTuple):
    """Place of an image in the row of bytes.

    Attributes:
        offset: Position of its first byte.
        size: Height and width.
        space: Height and width of the image that random crops are drawn in.
    """

    offset: int
    size: tuple[int, int]
    space: tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """Place of every image in the row of bytes.

    Attributes:
        offsets: Positions of the first bytes, (N,) in int64.
        sizes: Height and width, (N, 2) in int32; 0 for an image that could not be read.
        spaces: Height and width of the image that random crops are drawn in, (N, 2) in int32.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    spaces: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Offsets, sizes and spaces."""
        return self.offsets, self.sizes, self.spaces

    def only(self, rows: np.ndarray) -> "StoredIndex":
        """Return the images of some rows."""
        return StoredIndex(*(array[rows] for array in self.arrays))

    @property
    def readable(self) -> np.ndarray:
        """Rows of images that could be read."""
        return np.flatnonzero(self.sizes[:, 0])

    def locations(self, rows: Sequence[int]) -> list[ImageLocation]:
        """Return the places of some rows' images, as plain numbers: all at once, for speed."""
        columns = (array[np.asarray(rows)].tolist() for array in self.arrays)
        return [ImageLocation(at, tuple(s), tuple(c)) for at, s, c in zip(*columns, strict=True)]

    @classmethod
    def lay_out(
        cls, sizes: Sequence[tuple[int, int]], spaces: Sequence[tuple[int, int]], channels: int
    ) -> "StoredIndex":
        """Lay images out one after the other.

        Args:
            sizes: Height and width of each.
            spaces: Height and width of the image that its crops are drawn in.
            channels: Bytes per pixel.
        """
        extent = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        bytes_each = extent.prod(1) * channels  # in int64: all images have more than 2 GiB
        return cls(
            offsets=bytes_each.cumsum() - bytes_each,
            sizes=extent.astype(np.int32),
            spaces=np.array(spaces, dtype=np.int32).reshape(-1, 2),
        )


class StoredImages:
    """Decoded images.

    Args:
        index: Their places in `pixels`.
        pixels: Pixels of all of them, (bytes,) in uint8, on any device.
        channels: Channels of each pixel; 1 for gray.
    """

    def __init__(self, index: StoredIndex, pixels: Tensor, channels: int) -> None:
        self.index = index
        self.pixels = pixels
        self.channels = channels

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Tensor:
        """Return an image, (height, width, channels) in uint8, without a copy."""
        (place,) = self.index.locations([row])
        return self.part(place, (0, 0, *place.size))[0].permute(1, 2, 0)

    def part(self, place: ImageLocation, box: Box) -> Tensor:
        """Return a part of an image, (1, channels, height, width), without a copy.

        A pixel's channels are beside each other in memory.
        """
        top, left, height, width = box
        row = place.size[1] * self.channels
        # The strides say that the channels of a pixel are neighbors (channels last), so that a crop
        # of a stored image is a view, which resizing reads as it is.
        return self.pixels.as_strided(
            (1, self.channels, height, width),
            (height * row, 1, row, self.channels),
            place.offset + top * row + left * self.channels,
        )

    def only(self, rows: np.ndarray) -> "StoredImages":
        """Return the images of some rows, in the same place."""
        return StoredImages(self.index.only(rows), self.pixels, self.channels)

    def to(self, device: torch.device) -> "StoredImages":
        """Return the same images in the memory of a device."""
        return StoredImages(self.index, self.pixels.to(device), self.channels)
