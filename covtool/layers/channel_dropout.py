"""Adaptive channel dropout: normalization of a covariance by what training leaves out."""

import torch
from torch import Tensor, nn

from covtool.ops.covariance import covariance_pool
from covtool.ops.precision import at_least_float32, full_precision

KERNEL_SIZE = 3
STRENGTH = 10.0  # over log2 of the channels: 1.25 for 256


class AdaptiveChannelDropout(nn.Module):
    """Weigh the channels, and drop whole ones at a rate that the batch decides; training only.

    The weights w are a softmax over a convolution along the channels' means, as in ECA-Net. The
    rate is 1 - (10 / log2 D) cos(w, r), clipped to [0, 1], where r are the row sums of the weighted
    features' covariance and the cosine is the batch's mean: channels whose weights go along with
    their correlations are kept. No gradient flows through the rate. With a rate of 1 nothing would
    be left; such a batch is passed on whole.

    In eval mode it does nothing, so the layer can be taken out of a trained network.

    Shape:
        (B, D, H, W) -> the same

    Source:
        Wang, Gao, Zhang, Xie, Li, Hu. "DropCov: A Simple yet Effective Method for Improving Deep
        Architectures", NeurIPS 2022; constants as in the authors' code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, KERNEL_SIZE, padding=KERNEL_SIZE // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return features
        with full_precision(features):
            precise = at_least_float32(features).to(self.conv.weight.dtype)
            means = precise.mean(dim=(2, 3))
            weights = self.conv(means[:, None]).squeeze(1).softmax(dim=1)
            weighed = precise * (1 + weights[..., None, None])
            return _drop(weighed, self.rate(weighed, weights)).to(features.dtype)

    def rate(self, weighed: Tensor, weights: Tensor) -> Tensor:
        """Return the share of the channels to drop, a scalar in [0, 1]."""
        with torch.no_grad():
            correlations = covariance_pool(weighed).sum(dim=2)
            cosine = nn.functional.cosine_similarity(weights, correlations, dim=1).mean()
            # At least two channels: log2 of one is zero.
            bits = weighed.new_full((), max(weighed.shape[1], 2)).log2()
            return (1 - STRENGTH / bits * cosine).clamp(0, 1)


def _drop(features: Tensor, rate: Tensor) -> Tensor:
    """Set each channel of each image to zero with probability `rate`, the others scaled up."""
    drawn = torch.rand(features.shape[:2], dtype=features.dtype, device=features.device)
    kept = (drawn >= rate).to(features.dtype)[..., None, None]
    share = 1 - rate
    # Both branches get a gradient: dividing by 0 in the one that is not taken would give NaN.
    return torch.where(share > 0, features * kept / torch.where(share > 0, share, 1), features)
