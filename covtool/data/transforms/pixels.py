"""The operations of timm's transforms on tensors of pixels, without Pillow.

Resizing is torch's for uint8, which equals Pillow's up to rounding. Colors are changed as
Pillow's `ImageEnhance` changes them, with its truncation to whole numbers after every change.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.data.transforms.normalization import WHITE

INTO = {
    filter: getattr(torch.ops.aten, name).out
    for filter, name in (
        ("bilinear", "_upsample_bilinear2d_aa"),
        ("bicubic", "_upsample_bicubic2d_aa"),
    )
    if hasattr(torch.ops.aten, name)
}
"""Antialiased resizing by torch's operators, which `interpolate` calls as well."""

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R 601, as Pillow has it


def resize(
    part: Tensor, filter: str, *, out: Tensor, mirrored: tuple[bool, bool] = (False, False)
) -> None:
    """Resize pixels and mirror them.

    Args:
        part: (1, channels, height, width) in uint8, the channels of a pixel beside each other.
        filter: ``nearest``, ``bilinear`` or ``bicubic``; antialiased, as Pillow's are.
        out: Tensor that takes the result, (1, channels, height, width) in uint8. Quickest if the
            channels of a pixel are neighbors in it, too.
        mirrored: Whether left and right, and top and bottom, change places.
    """
    size = list(out.shape[2:])
    if filter == "nearest":
        out.copy_(F.interpolate(part, size=size, mode="nearest-exact"))
    elif filter in INTO and out.is_contiguous(memory_format=torch.channels_last):
        # As `interpolate` does, which would take the channels of all pixels apart: that alone
        # takes as long as resizing.
        INTO[filter](part, size, False, None, None, out=out)
    else:
        out.copy_(F.interpolate(part, size=size, mode=filter, antialias=True))
    # Afterwards, when there are fewest pixels: filters are symmetric.
    if axes := [axis for axis, wanted in zip((-1, -2), mirrored, strict=True) if wanted]:
        out.copy_(out.flip(axes))


class ColorChanges:
    """Changes brightness, contrast and saturation of one image after the other.

    Everything happens in memory that is used again for the next image: new memory for 600 kB takes
    longer than a change.

    Args:
        channels: Channels of the images.
        size: Their height and width.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        self._values = torch.empty(channels, *size)
        self._luminance = torch.empty(size)
        self._whole = torch.empty((channels, *size), dtype=torch.int16)

    def __call__(self, image: Tensor, changes: Sequence[tuple[str, float]], *, out: Tensor) -> None:
        """Change an image.

        Args:
            image: (channels, height, width) in uint8.
            changes: Names and factors of the changes, in order.
            out: Tensor that takes the result, like `image`.
        """
        self._values.copy_(image)
        for name, factor in changes:
            getattr(self, f"_{name}")(factor)
            if factor > 1:  # less takes values towards others, which are in range
                self._values.clamp_(0, WHITE)
            self._values.floor_()
        # By way of int16: torch has a quick way from float32 to that, and from that to uint8.
        out.copy_(self._whole.copy_(self._values))

    def _brightness(self, factor: float) -> None:
        self._values.mul_(factor)

    def _contrast(self, factor: float) -> None:
        """Change the distance to the image's mean luminance, which Pillow rounds."""
        weights = LUMINANCE if len(self._values) > 1 else (1.0,)
        means = self._values.mean((1, 2)).tolist()
        mean = sum(w * m for w, m in zip(weights, means, strict=True))
        # Rounded half up, as Pillow does; Python's `round` would go to the even number.
        rest = torch.tensor((1 - factor) * int(mean + 0.5))
        torch.add(rest, self._values, alpha=factor, out=self._values)

    def _saturation(self, factor: float) -> None:
        """Change the distance to each pixel's luminance; a gray image stays as it is."""
        if len(self._values) == 1:
            return
        (red, green, blue), (r, g, b) = LUMINANCE, self._values
        luminance = torch.mul(r, red, out=self._luminance).add_(g, alpha=green)
        luminance.add_(b, alpha=blue).round_()
        for channel in self._values:
            torch.lerp(luminance, channel, factor, out=channel)


def erase_(image: Tensor, patches: Sequence[tuple[int, int, Tensor]]) -> Tensor:
    """Write new values over parts of a normalized image, (channels, height, width)."""
    for top, left, values in patches:
        _, height, width = values.shape
        image[:, top : top + height, left : left + width] = values[: len(image)]
    return image
