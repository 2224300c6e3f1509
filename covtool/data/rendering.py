"""Cached pixels become images for a network, one by one: as they are, or varied at random."""

from typing import Protocol

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from covtool.data.normalization import Normalization
from covtool.data.pixels import crop_and_resize, erase_, flip, jitter
from covtool.data.transforms import Transform
from covtool.data.variation import VariedSteps


class Renderer(Protocol):
    """Makes what a network takes of a cached image."""

    def __call__(self, image: Tensor, space: tuple[int, int]) -> Tensor:
        """Draw from the global generators, where there is something to draw.

        Args:
            image: (height, width, channels) in uint8.
            space: Height and width of the image that random crops are drawn in.

        Returns:
            (channels, height, width), in uint8, or normalized in float32.
        """


def as_prepared(image: Tensor, space: tuple[int, int]) -> Tensor:
    """The `Renderer` of images that are kept ready to use."""
    return image.permute(2, 0, 1)


class TensorRenderer:
    """Varies pixels by torch.

    Args:
        steps: Of the training transform; they run on tensors.
        normalization: Of an image whose parts are erased afterwards.
    """

    def __init__(self, steps: VariedSteps, normalization: Normalization) -> None:
        self.steps = steps
        self.normalization = normalization

    def __call__(self, image: Tensor, space: tuple[int, int]) -> Tensor:
        crop, drawn = self.steps.draw_crop(space), self.steps.draw_variation()
        box = crop.box_in(tuple(image.shape[:2]), space)
        pixels = crop_and_resize(image, box, self.steps.crop.size, crop.filter)
        pixels = jitter(flip(pixels, hflip=drawn.hflip, vflip=drawn.vflip), drawn.jitter)
        if self.steps.erasing is None:
            return pixels
        return erase_(self.normalization(pixels[None])[0], drawn.erasures)


class PillowRenderer:
    """Varies pixels by the transforms themselves, on Pillow's images: slower, for any policy.

    Args:
        steps: Of the training transform.
    """

    def __init__(self, steps: VariedSteps) -> None:
        self.steps = steps

    def __call__(self, image: Tensor, space: tuple[int, int]) -> Tensor:
        steps, channels = self.steps, image.shape[2]
        crop = steps.draw_crop(space)
        box = crop.box_in(tuple(image.shape[:2]), space)
        varied = TF.resized_crop(
            _to_pillow(image), *box, steps.crop.size, InterpolationMode(crop.filter)
        )
        for step in steps.on_image:
            varied = step(varied)
        if steps.erasing is None:
            return TF.pil_to_tensor(varied)[:channels]
        return steps.erasing(steps.to_tensor(varied))[:channels]


def renderer_for(transform: Transform, normalization: Normalization) -> Renderer:
    """What varies cached images as a training transform varies those of files."""
    steps = VariedSteps(transform)
    return TensorRenderer(steps, normalization) if steps.run_on_tensors else PillowRenderer(steps)


def _to_pillow(image: Tensor) -> Image.Image:
    array = image.numpy()
    return Image.fromarray(array if array.shape[2] == 3 else array[..., 0]).convert("RGB")
