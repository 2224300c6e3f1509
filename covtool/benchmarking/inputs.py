"""Inputs of benchmarks: random feature maps, the same in every run."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.benchmarking.names import parse_map


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSpec:
    """Settings of a benchmark of layers or steps.

    Attributes:
        device: Device to compute on.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``float64``.
        compiled: Whether to measure the compiled forms as well.
        channels_last: Whether maps and filters are laid out with the channels last.
        repetitions: Each time is the median of so many.
    """

    device: torch.device | str = "cpu"
    dtype: str = "float32"
    compiled: bool = False
    channels_last: bool = False
    repetitions: int = 15

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch's memory format."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch's object."""
        return getattr(torch, self.dtype)


def feature_map(shape: str, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Return random nonnegative features, always the same ones, of a shape like ``16x256x7x7``.

    Raises:
        ArgumentError: It is no such shape.
    """
    return random_features(parse_map(shape), device, dtype)


def random_features(sizes: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Return random nonnegative features, always the same ones, (B, C, H, W)."""
    # On the CPU, so that all devices get the same numbers; nonnegative, as after a ReLU.
    generator = torch.Generator().manual_seed(0)
    return torch.randn(list(sizes), generator=generator).relu().to(device, dtype)
