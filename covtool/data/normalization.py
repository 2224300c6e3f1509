"""Pixels become what a network takes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from covtool.data.transforms import channel_statistics
from covtool.specs import InputSpec

WHITE = 255


class Normalization:
    """Divides by 255, subtracts the mean, divides by the standard deviation: bit by bit as timm's.

    Args:
        mean: Of each channel, of values in [0, 1].
        std: Standard deviation of each.
        device: Where; pixels are sent there as they are.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | None = None
    ) -> None:
        self.device = device or torch.device("cpu")
        self._mean = torch.tensor(mean, device=self.device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize a batch.

        Args:
            pixels: (B, channels, height, width) in uint8; or floating-point numbers, which are
                normalized already.

        Returns:
            The same in float32, on the device.
        """
        pixels = pixels.to(self.device, non_blocking=True)
        if pixels.is_floating_point():
            return pixels
        images = torch.empty(pixels.shape, device=self.device)
        # On a CPU one at a time: a batch does not fit into its caches.
        for part, source in zip(*self._parts(images, pixels), strict=True):
            part.copy_(source).div_(WHITE).sub_(self._mean).div_(self._std)
        return images

    def _parts(self, images: Tensor, pixels: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        if self.device.type == "cpu":
            return images.unbind(), pixels.unbind()
        return [images], [pixels]


def normalization(input: InputSpec, device: torch.device | None = None) -> Normalization:
    """What a model expects to be done to the pixels of its images.

    Raises:
        ArgumentError: See `channel_statistics`.
    """
    return Normalization(*channel_statistics(input), device=device)
