"""The forms in which a cache keeps an image: as large as its crops need, or ready for a network."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from covtool.data.transforms.from_timm import Squash, evaluation_pixels
from covtool.specs import AugmentationSpec, InputSpec

Size = tuple[int, int]
"""Width and height in pixels, as Pillow has them."""


class StoredForm(Protocol):
    """Form in which an image is kept."""

    @property
    def varied(self) -> bool:
        """Whether it is varied at random for training; else it is a network's input."""

    def size(self, size: Size) -> Size:
        """Return the size in which an image of a given size is kept."""

    def space(self, size: Size) -> Size:
        """Return the size of the image that random crops are drawn in."""

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Return the pixels to keep, (height, width, 3) in uint8; a cache may keep one channel."""

    def settings(self) -> dict[str, Any]:
        """Return all settings that decide about the pixels, for JSON.

        They are part of the identity of a cache file: another name or value here, and the caches
        that users have are made again.
        """


@dataclass(frozen=True, slots=True)
class ShrunkForm:
    """A whole image, shrunk to what random crops of it can show; never enlarged.

    The smallest crop has a share of the image's pixels. Kept are so many that this crop still has
    the pixels of the network's images, and the short side is no shorter than theirs. More would be
    lost when the crop is resized; fewer, and small crops were blurred.

    Shrinking is by Lanczos' filter, the one that keeps the sharpness of the crops: on photographs
    at the least share 0.35 they have 99.5 % of the squared differences between neighboring pixels
    that crops of the files have; it is 91 % with the bicubic filter.

    Attributes:
        crop: (height, width) of the network's images.
        least_share: Smallest share of the image's area in a crop.
        side: Upper bound of the short side, in place of the rule; None for the rule.
    """

    crop: tuple[int, int]
    least_share: float
    side: int | None = None

    varied = True

    def size(self, size: Size) -> Size:
        width, height = size
        short = min(size)
        if self.side is not None:
            factor = self.side / short
        else:
            # Pixels of the whole image, if its smallest crop is to have as many as the network's.
            for_smallest_crop = math.prod(self.crop) / self.least_share
            factor = max(math.sqrt(for_smallest_crop / (width * height)), max(self.crop) / short)
        if factor >= 1:
            return size  # enlarging would store pixels that a crop computes anyway
        return max(1, round(width * factor)), max(1, round(height * factor))

    def space(self, size: Size) -> Size:
        return size

    def pixels(self, image: Image.Image) -> np.ndarray:
        size = self.size(image.size)
        kept = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(kept)

    def settings(self) -> dict[str, Any]:
        return {"form": "shrunk", **asdict(self)}


@dataclass(frozen=True, slots=True)
class SquashedForm:
    """A whole image with both sides resized by `Squash`, to be cropped at random.

    Attributes:
        input: The images that the model expects.
    """

    input: InputSpec

    varied = True

    def size(self, size: Size) -> Size:
        return Squash(self.input).size

    space = size

    def pixels(self, image: Image.Image) -> np.ndarray:
        return np.asarray(Squash(self.input)(image))

    def settings(self) -> dict[str, Any]:
        wide, high = Squash(self.input).size
        return {"form": "squashed", "size": [wide, high], "filter": self.input.interpolation}


class PreparedForm:
    """A network's input before its normalization.

    Args:
        input: The images that the model expects.
    """

    varied = False

    def __init__(self, input: InputSpec) -> None:
        self._input = input
        self._transform: Callable[[Image.Image], Any] = evaluation_pixels(input)

    def size(self, size: Size) -> Size:
        height, width = self._input.size
        return width, height

    space = size

    def pixels(self, image: Image.Image) -> np.ndarray:
        return self._transform(image).permute(1, 2, 0).numpy()

    def settings(self) -> dict[str, Any]:
        # The mean fills the border of an image that is smaller than the crop: it is in the pixels.
        names = {"size", "interpolation", "crop_pct", "crop_mode", "mean"}
        return {"form": "prepared", **self._input.model_dump(mode="json", include=names)}


def training_form(
    input: InputSpec, augmentation: AugmentationSpec, *, side: int | None = None
) -> StoredForm:
    """Choose the form in which training images are kept.

    Args:
        input: The images that the model expects.
        augmentation: Random variation of the images.
        side: Upper bound of the short side, where crops are drawn in the image itself.
    """
    if not augmentation.aug:
        return PreparedForm(input)
    if input.crop_mode == "squash":
        return SquashedForm(input)
    return ShrunkForm(crop=input.size, least_share=augmentation.scale[0], side=side)


def evaluation_form(input: InputSpec) -> StoredForm:
    """Choose the form in which images for evaluation are kept."""
    return PreparedForm(input)
