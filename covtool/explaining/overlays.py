"""Maps as pictures over the images that they explain."""

from importlib.util import find_spec

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from covtool.errors import ArgumentError, ShapeError

COLORS = "inferno"
"""Color map of matplotlib: perceptually uniform, and it tells values apart in gray as well."""

_STRONGEST = 0.75  # opacity at the largest value: the picture stays visible below


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps at the size of the images as they were cropped, bilinear between positions.

    The center of a position is the center of its patch. Sums are not kept: each pixel has the
    value of the position that it is in.

    Args:
        values: Shape (..., h, w). Not modified.
        size: Height and width, in pixels.
    """
    flat = values.reshape(1, -1, *values.shape[-2:])
    grown = interpolate(flat, size=size, mode="bilinear", align_corners=False)
    return grown.reshape(*values.shape[:-2], *size)


def overlay(image: Image.Image, values: Tensor, *, largest: float | None = None) -> Image.Image:
    """Return a picture with a map over it: the brighter, the more speaks for the class.

    What is 0 or below leaves the picture as it is.

    Args:
        image: The image as the network saw it, cropped and resized.
        values: Its map, (h, w).
        largest: Value of the brightest color, for maps that are to be compared; None for the
            largest of this one.

    Raises:
        ShapeError: `values` is no single map.
        ArgumentError: matplotlib is missing.
    """
    if values.ndim != 2:
        raise ShapeError.expected("values", "(h, w)", values)
    require_colors()
    from matplotlib import colormaps

    top = float(values.max()) if largest is None else largest
    strength = resized(values.float(), (image.height, image.width)).clamp_min(0)
    strength = strength / top if top > 0 else torch.zeros_like(strength)
    shares = strength.clamp_max(1).numpy()
    colors = Image.fromarray((colormaps[COLORS](shares)[..., :3] * 255).round().astype("uint8"))
    opacity = Image.fromarray((shares * _STRONGEST * 255).round().astype("uint8"))
    return Image.composite(colors, image.convert("RGB"), opacity)


def require_colors() -> None:
    """Refuse to color maps without matplotlib.

    Raises:
        ArgumentError: It is missing.
    """
    if find_spec("matplotlib") is None:
        raise ArgumentError(
            "Maps are colored by matplotlib, which is not installed.",
            hint="Install it: pip install 'covtool[plots]'.",
        )
