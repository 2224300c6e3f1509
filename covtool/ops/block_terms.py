"""Blocks of images of a decoupled operator, and the terms of its backward pass on one of them.

Maps of a block are (b, G, O / G, H', W').
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.magnitudes import NEGLIGIBLE


class Span(NamedTuple):
    """Images that are convolved at once.

    Attributes:
        images: The images, among all.
        step: Images of a block.
    """

    images: slice
    step: int

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Return the images of each block, among those of the span and among all."""
        first, end = self.images.start, self.images.stop
        for start in range(first, end, self.step):
            stop = min(start + self.step, end)
            yield slice(start - first, stop - first), slice(start, stop)


def inverse_norm(norm: Tensor) -> Tensor:
    """Return 1/‖x‖, and 0 for a zero patch: no gradient passes through its norm."""
    nothing = torch.tensor(NEGLIGIBLE**2, dtype=norm.dtype).sqrt().item()
    return F.threshold(norm, nothing, math.inf).reciprocal_()


def over_filters(maps: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum over the filters of a group, (b, G, 1, H', W')."""
    if maps.shape[2] == 1:
        return maps * weights
    if weights.shape[2] == 1:
        return maps.sum(2, keepdim=True).mul_(weights)
    return (maps * weights).sum(2, keepdim=True)


def summed(maps: Tensor, like: Tensor) -> Tensor:
    """Return the sum over images and places, and over all filters for a single number."""
    return maps.sum() if like.ndim == 0 else maps.sum((0, 3, 4), keepdim=True)[0]
