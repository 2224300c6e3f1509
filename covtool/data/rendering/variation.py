"""Random draws for a training image, by the samplers of timm and torchvision themselves.

A random transform draws its parameters and applies them. Here it only draws, in the order and
from the generators that it always draws from: decoded pixels, however they are changed, become
what the image from the file would have become.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import MaybeToTensor, RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import (
    ColorJitter,
    Compose,
    InterpolationMode,
    Normalize,
    RandomHorizontalFlip,
    RandomVerticalFlip,
)

from covtool.data.cache.stored import Box
from covtool.data.transforms.from_timm import FirstChannel, Squash, Transform

RGB = 3
NO_JITTER = (None, None, None)
ANY_IMAGE = torch.empty(())  # for samplers that ask for its size only
FILTERS = frozenset({"nearest", "bilinear", "bicubic"})  # that torch has for tensors


class Crop(NamedTuple):
    """A part of an image, and the filter that resizes it.

    Attributes:
        box: Part in the pixels of the image that it was drawn for.
        filter: Resampling filter, in Pillow's lower-case words.
    """

    box: Box
    filter: str

    def box_in(self, size: tuple[int, int], space: tuple[int, int]) -> Box:
        """Return the same part of the image when it is stored in another size.

        Args:
            size: Height and width that it is stored in.
            space: Height and width of the image that the box was drawn for.
        """
        if size == space:
            return self.box
        top, left, height, width = self.box
        down, right = size[0] / space[0], size[1] / space[1]
        height, width = max(1, round(height * down)), max(1, round(width * right))
        top, left = round(top * down), round(left * right)
        return min(top, size[0] - height), min(left, size[1] - width), height, width


class Variation(NamedTuple):
    """Random changes of an image after its crop.

    Attributes:
        hflip: Whether left and right change places.
        vflip: Whether top and bottom do.
        jitter: ``brightness``, ``contrast`` and ``saturation`` with their factors, in order.
        erasures: Top, left and new values, (channels, height, width), for the normalized image.
    """

    hflip: bool
    vflip: bool
    jitter: tuple[tuple[str, float], ...]
    erasures: tuple[tuple[int, int, Tensor], ...]


class VariedSteps:
    """The steps of a training transform that begins with timm's random crop.

    Args:
        transform: Transform that `covtool.data.transforms.from_timm.training_transform` built.
            Stored images are squashed already, and gray ones have one channel.

    Attributes:
        crop: Random crop, the first step.
        on_image: Steps between it and the normalization.
        to_tensor: Normalization.
        erasing: Random erasing, or None.
    """

    def __init__(self, transform: Transform) -> None:
        steps = [s for s in _flattened(transform) if not isinstance(s, Squash | FirstChannel)]
        at = next(i for i, step in enumerate(steps) if isinstance(step, MaybeToTensor))
        self.crop: RandomResizedCropAndInterpolation = steps[0]
        self.on_image: list[Callable[[Any], Any]] = steps[1:at]
        self.to_tensor = Compose(
            [s for s in steps[at:] if isinstance(s, MaybeToTensor | Normalize)]
        )
        self.erasing = next((s for s in steps[at:] if isinstance(s, RandomErasing)), None)
        self._drawing = [s for s in self.on_image if self.changes_colors or not _is_jitter(s)]
        # A jitter of no strength still draws an order. Nothing but erasing is drawn after it, whose
        # draws would be others without that one.
        if self.erasing is not None:
            self._drawing = self.on_image

    @property
    def run_on_tensors(self) -> bool:
        """Whether torch can do what they do; else they need Pillow's images."""
        kinds = tuple(type(step) for step in self.on_image)
        known = (RandomHorizontalFlip, RandomVerticalFlip, ColorJitter)
        in_order = kinds == tuple(kind for kind in known if kind in kinds)
        return in_order and {mode.value for mode in _filters(self.crop)} <= FILTERS

    @property
    def changes_colors(self) -> bool:
        """Whether brightness, contrast or saturation may change."""
        factors = (
            (step.brightness, step.contrast, step.saturation)
            for step in self.on_image
            if _is_jitter(step)
        )
        return any(each != NO_JITTER for each in factors)

    def draw_crop(self, space: tuple[int, int]) -> Crop:
        """Draw a crop of an image of a given height and width."""
        box = self.crop.get_params(ANY_IMAGE.expand(space), self.crop.scale, self.crop.ratio)
        filters = self.crop.interpolation
        chosen = random.choice(filters) if isinstance(filters, tuple) else filters
        return Crop(box, chosen.value)

    def draw_variation(self) -> Variation:
        """Draw the rest, after the crop, for steps that run on tensors."""
        drawn = {"hflip": False, "vflip": False, "jitter": ()}
        for step in self._drawing:
            match step:
                case RandomHorizontalFlip():
                    drawn["hflip"] = _chosen(step.p)
                case RandomVerticalFlip():
                    drawn["vflip"] = _chosen(step.p)
                case ColorJitter():
                    drawn["jitter"] = _jitter(step)
        return Variation(**drawn, erasures=self._erasures())

    def _erasures(self) -> tuple[tuple[int, int, Tensor], ...]:
        if self.erasing is None:
            return ()
        # timm draws and writes in one function: it writes to a record in place of an image.
        record = _Erased(self.crop.size)
        self.erasing(record)
        return tuple(record.patches)


class _Erased:
    """Looks like a normalized RGB image to `RandomErasing`, and keeps what is written to it."""

    dtype = torch.float32

    def __init__(self, size: tuple[int, int]) -> None:
        self._shape = torch.Size((RGB, *size))
        self.patches: list[tuple[int, int, Tensor]] = []

    def size(self) -> torch.Size:
        return self._shape

    def __setitem__(self, where: tuple[slice, slice, slice], values: Tensor) -> None:
        _, rows, columns = where
        extent = rows.stop - rows.start, columns.stop - columns.start
        self.patches.append((rows.start, columns.start, values.expand(RGB, *extent)))


def _flattened(transform: Transform) -> list[Callable[[Any], Any]]:
    if not isinstance(transform, Compose):
        return [transform]
    return [step for part in transform.transforms for step in _flattened(part)]


def _filters(crop: RandomResizedCropAndInterpolation) -> tuple[InterpolationMode, ...]:
    modes = crop.interpolation
    return modes if isinstance(modes, tuple) else (modes,)


def _chosen(chance: float) -> bool:
    """Draw whether a random transform of torchvision is applied, as it does itself."""
    return torch.rand(1).item() < chance


def _is_jitter(step: object) -> bool:
    return isinstance(step, ColorJitter)


def _jitter(step: ColorJitter) -> tuple[tuple[str, float], ...]:
    order, *factors = step.get_params(step.brightness, step.contrast, step.saturation, step.hue)
    names = ("brightness", "contrast", "saturation", "hue")
    return tuple((names[i], factors[i]) for i in order.tolist() if factors[i] is not None)
