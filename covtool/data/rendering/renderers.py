"""Renderers: from decoded pixels to images for a network, as they are or varied at random."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from covtool.data.cache.stored import ImageLocation, StoredImages
from covtool.data.images.picture import as_image
from covtool.data.rendering.batch_ring import BatchLayout
from covtool.data.rendering.draws import seed_generators
from covtool.data.rendering.variation import Crop, Variation, VariedSteps
from covtool.data.transforms.normalization import Normalization
from covtool.data.transforms.pixels import ColorChanges, erase_, resize

Drawn = tuple[Crop, Variation | None]
"""Crop and variation of an image; None where the variation is drawn as it is applied."""


class Wanted(NamedTuple):
    """An image of a batch.

    Attributes:
        row: Row of the stored images.
        entropy: Seed of the generators for its draws; None for no seed.
    """

    row: int
    entropy: tuple[int, ...] | None = None

    def seed(self) -> None:
        """Seed the generators."""
        if self.entropy is not None:
            seed_generators(*self.entropy)


class Renderer(Protocol):
    """Fills batches with a network's inputs, from cached images."""

    @property
    def layout(self) -> BatchLayout:
        """Layout of its batches: pixels in uint8, or normalized images in float32."""

    def __call__(self, images: StoredImages, batch: Sequence[Wanted], out: Tensor) -> None:
        """Draw from the global generators, where there is something to draw, and fill a batch.

        Args:
            images: The cached images.
            batch: Images of the batch.
            out: Tensor that takes them, (B, channels, height, width).
        """


class PartRenderer(Renderer, Protocol):
    """Renderer that also varies one image after the other, wherever its pixels come from."""

    steps: VariedSteps
    draws_ahead: bool
    """Whether `draw` draws everything, so that other images may be drawn before `render`."""

    def draw(self, space: tuple[int, int]) -> Drawn:
        """Draw crop and variation of an image of a given height and width."""

    def render(self, part: Tensor, drawn: Drawn, out: Tensor) -> None:
        """Vary an image.

        Args:
            part: The crop, (1, channels, height, width) in uint8, the channels of a pixel beside
                each other.
            drawn: What `draw` returned.
            out: Tensor that takes the image, (channels, height, width).
        """


class PreparedRenderer:
    """Takes images that are kept ready to use.

    Args:
        channels: Channels of the images.
        size: Their height and width.
        device: Their device; None for the CPU.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], device: torch.device | None = None
    ) -> None:
        self.layout = BatchLayout(channels, size, pixelwise=True, device=device)

    def __call__(self, images: StoredImages, batch: Sequence[Wanted], out: Tensor) -> None:
        for image, wanted in zip(out, batch, strict=True):
            image.copy_(images[wanted.row].permute(2, 0, 1))


class TensorRenderer:
    """Varies pixels by torch.

    Args:
        steps: Steps of the training transform, which run on tensors.
        normalization: Normalization before random erasing.
    """

    draws_ahead = True

    def __init__(self, steps: VariedSteps, normalization: Normalization) -> None:
        self.steps = steps
        self.normalization = normalization
        self.layout = _layout(steps, normalization, pixelwise=not steps.changes_colors)
        self._resized = BatchLayout(self.layout.channels, self.layout.size, pixelwise=True).empty(1)
        self._change_colors = ColorChanges(self.layout.channels, self.layout.size)

    def __call__(self, images: StoredImages, batch: Sequence[Wanted], out: Tensor) -> None:
        places, drawn = draw_all(self.steps, images, batch)
        for image, place, (crop, variation) in zip(out, places, drawn, strict=True):
            part = images.part(place, crop.box_in(place.size, place.space))
            self.render(part, (crop, variation), image)

    def draw(self, space: tuple[int, int]) -> Drawn:
        return self.steps.draw_crop(space), self.steps.draw_variation()

    def render(self, part: Tensor, drawn: Drawn, out: Tensor) -> None:
        crop, variation = drawn
        mirrored = (variation.hflip, variation.vflip)
        if not variation.jitter and self.steps.erasing is None:  # straight into the batch
            resize(part, crop.filter, mirrored=mirrored, out=out[None])
            return
        resize(part, crop.filter, mirrored=mirrored, out=self._resized)
        pixels = out[None] if self.steps.erasing is None else self._resized
        if variation.jitter:
            self._change_colors(self._resized[0], variation.jitter, out=pixels[0])
        if self.steps.erasing is not None:
            out.copy_(self.normalization(pixels)[0])
            erase_(out, variation.erasures)


def draw_all(
    steps: VariedSteps, images: StoredImages, batch: Sequence[Wanted]
) -> tuple[list[ImageLocation], list[tuple[Crop, Variation]]]:
    """Draw crop and variation of each image of a batch; return the images' places as well."""
    # For all images before any is resized: the processor is quicker at many small things of a kind.
    places, drawn = images.index.locations([wanted.row for wanted in batch]), []
    for wanted, place in zip(batch, places, strict=True):
        wanted.seed()
        drawn.append((steps.draw_crop(place.space), steps.draw_variation()))
    return places, drawn


class PillowRenderer:
    """Varies pixels by the transforms themselves, on Pillow's images: slower, for any policy.

    Args:
        steps: Steps of the training transform.
        normalization: Their last step but for random erasing.
    """

    draws_ahead = False

    def __init__(self, steps: VariedSteps, normalization: Normalization) -> None:
        self.steps = steps
        self.layout = _layout(steps, normalization)

    def __call__(self, images: StoredImages, batch: Sequence[Wanted], out: Tensor) -> None:
        places = images.index.locations([wanted.row for wanted in batch])
        for image, wanted, place in zip(out, batch, places, strict=True):
            wanted.seed()
            drawn = self.draw(place.space)
            box = drawn[0].box_in(place.size, place.space)
            self.render(images.part(place, box), drawn, image)

    def draw(self, space: tuple[int, int]) -> Drawn:
        return self.steps.draw_crop(space), None  # the policies draw while they work

    def render(self, part: Tensor, drawn: Drawn, out: Tensor) -> None:
        # Pillow's images are RGB; of gray ones, three equal channels, the first is taken.
        out.copy_(
            self._varied(as_image(part[0].permute(1, 2, 0).numpy()).convert("RGB"), drawn[0])[
                : len(out)
            ]
        )

    def _varied(self, part: Image.Image, crop: Crop) -> Tensor:
        steps = self.steps
        varied = TF.resize(part, steps.crop.size, InterpolationMode(crop.filter))
        for step in steps.on_image:
            varied = step(varied)
        if steps.erasing is None:
            return TF.pil_to_tensor(varied)
        return steps.erasing(steps.to_tensor(varied))


def _layout(
    steps: VariedSteps, normalization: Normalization, *, pixelwise: bool = False
) -> BatchLayout:
    channels, size = normalization.channels, tuple(steps.crop.size)
    if steps.erasing is None:
        return BatchLayout(channels, size, pixelwise=pixelwise)
    return BatchLayout(channels, size, dtype=torch.float32)
