"""Terms of a decoupled operator's backward pass, on a block of maps (b, G, O / G, H', W')."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.magnitudes import NEGLIGIBLE


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
