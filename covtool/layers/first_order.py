"""First-order pooling, for comparison: one number for each channel."""

import torch
from torch import Tensor, nn

from covtool.layers.global_pooling import GlobalPooling

GEM_POWER = 3.0
# The root of a mean of zero would have an infinite gradient.
GEM_SMALLEST = 1e-6


class FirstOrderPooling(GlobalPooling):
    """One number for each channel.

    Shape:
        (B, C, H, W) -> (B, D)
    """

    def __init__(self, in_features: int, *, dim: int = 256, reduction: str = "none") -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        self.num_features = self.reduced_features


class AveragePooling(FirstOrderPooling):
    """Mean over all positions."""

    def pool(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3))


class MaxPooling(FirstOrderPooling):
    """Maximum over all positions; equal ones share the gradient."""

    def pool(self, features: Tensor) -> Tensor:
        # amax shares the gradient among equals, which max would give to one of them.
        return features.amax(dim=(2, 3))


class GeneralizedMeanPooling(FirstOrderPooling):
    """Generalized mean (GeM) over all positions, its power learned from 3 on, one for all channels.

    Activations below 1e-6 count as 1e-6: the mean is one of nonnegative numbers.

    Source:
        Radenović, Tolias, Chum. "Fine-tuning CNN Image Retrieval with No Human Annotation",
        TPAMI 2019, equation 3.
    """

    def __init__(self, in_features: int, *, dim: int = 256, reduction: str = "none") -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        self.power = nn.Parameter(torch.full((1,), GEM_POWER))

    def pool(self, features: Tensor) -> Tensor:
        positive = features.clamp_min(GEM_SMALLEST).to(self.power.dtype)
        largest = positive.amax(dim=(2, 3), keepdim=True)  # powers of ratios cannot overflow
        mean = (positive / largest).pow(self.power).mean(dim=(2, 3))
        return (largest.flatten(1) * mean.pow(1 / self.power)).to(features.dtype)
