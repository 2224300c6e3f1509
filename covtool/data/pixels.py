"""What timm's transforms do to Pillow's images, done to tensors of pixels, without Pillow.

Resizing is torch's for uint8, which does as Pillow does up to rounding. Colors are changed as
Pillow's `ImageEnhance` changes them, with its truncation to whole numbers after every change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.data.normalization import WHITE
from covtool.data.variation import Box

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R 601, as Pillow has it


def crop_and_resize(image: Tensor, box: Box, size: tuple[int, int], filter: str) -> Tensor:
    """Cut a part out of an image and resize it.

    Args:
        image: (height, width, channels) in uint8.
        box: What to cut out.
        size: Height and width of the result.
        filter: ``nearest``, ``bilinear`` or ``bicubic``; antialiased, as Pillow's are.

    Returns:
        (channels, height, width) in uint8.
    """
    top, left, height, width = box
    # A copy: of a tensor whose last axis is the densest torch's fast way makes one of that kind.
    part = image[top : top + height, left : left + width].contiguous().permute(2, 0, 1)
    if filter == "nearest":
        return F.interpolate(part[None], size=size, mode="nearest-exact")[0]
    return F.interpolate(part[None], size=size, mode=filter, antialias=True)[0]


def flip(image: Tensor, *, hflip: bool, vflip: bool) -> Tensor:
    """Mirror an image, (..., height, width)."""
    axes = [axis for axis, wanted in ((-1, hflip), (-2, vflip)) if wanted]
    return image.flip(axes) if axes else image


def jitter(image: Tensor, changes: Sequence[tuple[str, float]]) -> Tensor:
    """Change brightness, contrast and saturation.

    Args:
        image: (channels, height, width) in uint8.
        changes: What, and by which factor, in order.

    Returns:
        As `image`.
    """
    if not changes:
        return image
    values = image.to(torch.float32, memory_format=torch.contiguous_format)
    for name, factor in changes:
        CHANGES[name](values, factor).clamp_(0, WHITE).floor_()
    return values.to(torch.uint8)


def erase_(image: Tensor, patches: Sequence[tuple[int, int, Tensor]]) -> Tensor:
    """Write new values over parts of a normalized image, (channels, height, width)."""
    for top, left, values in patches:
        _, height, width = values.shape
        image[:, top : top + height, left : left + width] = values[: len(image)]
    return image


def _brightness_(values: Tensor, factor: float) -> Tensor:
    return values.mul_(factor)


def _contrast_(values: Tensor, factor: float) -> Tensor:
    """Away from the mean luminance of the image, a whole number."""
    weights = LUMINANCE if len(values) > 1 else (1.0,)
    mean = sum(w * m for w, m in zip(weights, values.mean((1, 2)).tolist(), strict=True))
    return values.mul_(factor).add_((1 - factor) * int(mean + 0.5))


def _saturation_(values: Tensor, factor: float) -> Tensor:
    """Away from the luminance of each pixel; a gray image stays as it is."""
    if len(values) == 1:
        return values
    red, green, blue = LUMINANCE
    luminance = (values[0] * red).add_(values[1], alpha=green).add_(values[2], alpha=blue)
    return values.mul_(factor).add_(luminance.round_(), alpha=1 - factor)


CHANGES = {"brightness": _brightness_, "contrast": _contrast_, "saturation": _saturation_}
