"""Network inputs from image files: as much is decoded as the drawn crop can show, and varied."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from covtool.data.images.jpeg import DIVISORS, JpegDecoder, Size, scaled
from covtool.data.images.picture import Picture, as_image, pixels_of, read_picture
from covtool.data.rendering.batch_ring import BatchLayout
from covtool.data.rendering.draws import seed_generators
from covtool.data.rendering.renderers import Drawn, PartRenderer
from covtool.data.rendering.variation import Crop
from covtool.data.transforms.from_timm import Squash
from covtool.specs import InputSpec

MOST_BYTES_HELD = 1 << 20
"""Bytes of a file that is held while others of its batch are read."""


class FileRenderer:
    """Reads an image file and varies it, as cached pixels are.

    Args:
        render: Renderer of its crop.
        input: The images that the model expects.
        exact_decode: Whether images are decoded at full size. Else JPEG files are decoded at the
            smallest of `DIVISORS` at which the crop has the resolution of the network's images.
    """

    def __init__(
        self, render: PartRenderer, input: InputSpec, *, exact_decode: bool = False
    ) -> None:
        self._render = render
        self._exact = exact_decode
        self._reading = {"gray": input.channels == 1, "exif": input.exif}
        self._squash = Squash(input) if input.crop_mode == "squash" else None
        self._decoder = JpegDecoder()

    @property
    def layout(self) -> BatchLayout:
        """Layout of the batches that take the images."""
        return self._render.layout

    def __call__(self, path: Path, entropy: Sequence[int], out: Tensor) -> None:
        """Seed the global generators, draw from them, and fill a place of a batch.

        Args:
            path: The file, or what is read like one.
            entropy: Seed of the draws.
            out: Tensor that takes the image, (channels, height, width).

        Raises:
            DataError: The image cannot be read; it names the file.
        """
        if rest := self.begin(path, entropy, out):
            rest()

    def begin(self, path: Path, entropy: Sequence[int], out: Tensor) -> Callable[[], None] | None:
        """Read a file and draw; return a function that does the rest of what a call does.

        Opening and drawing are many small steps, which take three times longer after an image was
        decoded than after each other: code and data have left the processor's caches.

        Returns:
            None where the place is filled: where memory is better not held, or the rest draws.

        Raises:
            DataError: As a call; the rest as well.
        """
        picture = read_picture(path, self._decoder, **self._reading)
        space = self._space(picture)
        seed_generators(*entropy)
        drawn = self._render.draw(space)
        rest = partial(self._finish, picture, space, drawn, out)
        if self._render.draws_ahead and 0 < picture.encoded <= MOST_BYTES_HELD:
            return rest
        rest()
        return None

    def _finish(self, picture: Picture, space: Size, drawn: Drawn, out: Tensor) -> None:
        pixels = self._pixels(picture, drawn[0], space)
        top, left, height, width = drawn[0].box_in(pixels.shape[:2], space)
        part = torch.from_numpy(pixels)[top : top + height, left : left + width]
        self._render.render(part.permute(2, 0, 1)[None], drawn, out)

    def _space(self, picture: Picture) -> Size:
        """Return height and width of the image that the crop is drawn in."""
        return picture.size if self._squash is None else self._squash.size[::-1]

    def _pixels(self, picture: Picture, crop: Crop, space: Size) -> np.ndarray:
        if self._squash is None:
            return picture.pixels(self._divisor(picture, crop, self.layout.size))
        # The whole image is resized first: as much of it is needed as is left then.
        whole = Crop((0, 0, *picture.size), crop.filter)
        pixels = picture.pixels(self._divisor(picture, whole, space))
        return pixels_of(self._squash(as_image(pixels)))

    def _divisor(self, picture: Picture, crop: Crop, wanted: Size) -> int:
        """Return the largest divisor at which a crop has a height and width, at least."""
        if self._exact or not picture.encoded:
            return 1
        for divisor in DIVISORS:
            box = crop.box_in(scaled(picture.size, divisor), picture.size)
            if box[2] >= wanted[0] and box[3] >= wanted[1]:
                return divisor
        return 1
