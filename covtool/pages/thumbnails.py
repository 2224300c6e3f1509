"""Small copies of images, as bytes that a page can hold, within a budget."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

SIDE = 128
"""Pixels of the longer side."""
QUALITY = 80
_STEPS = ((1.0, QUALITY), (1.0, 60), (0.75, 60), (0.75, 40), (0.5, 40), (0.375, 30), (0.25, 25))
"""Share of the side, and quality, of one attempt after the other at meeting a budget."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """An encoded image.

    Attributes:
        data: Bytes of a JPEG file without metadata.
        width: Pixels.
        height: Pixels.
    """

    data: bytes
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The image as an address that needs no file."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.data).decode()}"


def thumbnail(image: Image.Image, *, side: int = SIDE, quality: int = QUALITY) -> Thumbnail:
    """Return a small copy of an image; one that is small already keeps its size.

    Args:
        image: In any mode; transparency becomes white. It is not modified.
        side: Most pixels of the longer side.
        quality: JPEG's quality, 1 to 95.
    """
    small = _on_white(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=quality, optimize=True)
    return Thumbnail(data.getvalue(), *small.size)


def thumbnails(
    images: Iterable[Image.Image], *, side: int = SIDE, budget: int = 4_000_000
) -> list[Thumbnail]:
    """Return small copies of images that take no more bytes together than a budget.

    All have the same quality: the best of a few that meets the budget, the worst if none does.

    Args:
        images: In any mode; each is read once, and none is kept in full size.
        side: Most pixels of the longer side.
        budget: Most bytes of a page that all of them take together, base64 included.
    """
    small = [_shrunk(image, side) for image in images]
    made: list[Thumbnail] = []
    for share, quality in _STEPS:
        made = [
            thumbnail(image, side=max(int(side * share), 1), quality=quality) for image in small
        ]
        if embedded_bytes(made) <= budget:
            break
    return made


def embedded_bytes(made: Sequence[Thumbnail]) -> int:
    """Return the bytes of a page that thumbnails take."""
    return sum(-(-len(each.data) // 3) * 4 for each in made)


def _shrunk(image: Image.Image, side: int) -> Image.Image:
    small = _on_white(image)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def _on_white(image: Image.Image) -> Image.Image:
    """Return a copy in RGB without metadata."""
    if image.mode.startswith(
        ("I", "F")
    ):  # values of no known range: the image's own becomes 0..255
        values = np.asarray(image, np.float64)
        low, high = values.min(), values.max()
        scale = 255 / (high - low) if high > low else 0.0
        image = Image.fromarray(((values - low) * scale).round().astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        ground = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(ground, over).convert("RGB")
    return image.convert("RGB").copy()
