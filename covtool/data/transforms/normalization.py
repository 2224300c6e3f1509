"""Normalization of pixels for a network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from covtool.data.transforms.from_timm import channel_statistics
from covtool.specs import InputSpec

WHITE = 255
AT_A_TIME = 4  # images on a CPU: so many fit into its caches, fewer leave it waiting for calls


class Normalization:
    """Divides by 255, subtracts the mean, divides by the standard deviation.

    Args:
        mean: Mean of each channel, of values in [0, 1].
        std: Standard deviation of each channel.
        device: Device that computes it, to which pixels are sent as uint8; None for the CPU.
        exact: Whether the result equals timm's bit by bit; else a multiplication and an addition
            compute it, which is quicker and may differ in the last bits of a float32.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | None = None,
        *,
        exact: bool = True,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.channels = len(mean)
        self._mean = torch.tensor(mean, device=self.device).view(-1, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(-1, 1, 1)
        self._scale, self._offset = 1 / (WHITE * self._std), -self._mean / self._std
        self._exact = exact

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalize a batch.

        Args:
            pixels: (B, channels, height, width) in uint8; or in float32, normalized already.

        Returns:
            The same in float32, contiguous, on the device, in memory of their own.
        """
        # Only from pinned memory can a copy overlap with what follows.
        at_once = pixels.is_pinned()
        if pixels.is_floating_point():
            return pixels.to(self.device, non_blocking=at_once, copy=True)
        pixels = pixels.to(self.device, non_blocking=at_once)
        images = torch.empty(pixels.shape, device=self.device)
        if self.device.type != "cpu":
            return self._normalized(images, pixels)
        for part, source in zip(images.split(AT_A_TIME), pixels.split(AT_A_TIME), strict=True):
            self._normalized(part, source)
        return images

    def _normalized(self, images: Tensor, pixels: Tensor) -> Tensor:
        images.copy_(pixels)
        if self._exact:
            return images.div_(WHITE).sub_(self._mean).div_(self._std)
        return images.mul_(self._scale).add_(self._offset)


def normalization(
    input: InputSpec, device: torch.device | None = None, *, exact: bool = True
) -> Normalization:
    """Build the normalization that a model expects of its images.

    Raises:
        ArgumentError: See `channel_statistics`.
    """
    return Normalization(*channel_statistics(input), device=device, exact=exact)
