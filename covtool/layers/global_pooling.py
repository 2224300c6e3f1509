"""Pooling layers between the last feature map and a linear classifier."""

from torch import Tensor, nn

from covtool.layers.reduction import make_reduction
from covtool.ops.covariance import triu_vec
from covtool.ops.isqrt import isqrt_covariance


class GlobalPooling(nn.Module):
    """Brings a map into channels-first order, reduces its channels, and pools it.

    Subclasses say how: `pool` takes (B, D, H, W) to (B, num_features).

    Args:
        in_features: Channels of the backbone's feature map, C.
        dim: Channels after the reduction, D.
        reduction: A name in `covtool.layers.reduction.REDUCTIONS`.

    Attributes:
        layout: Order of the input's axes: NCHW, NHWC or NLC (tokens).
        num_prefix_tokens: Tokens at the front of an NLC input that are no positions.
        reduced_features: Channels that are pooled: D, or C without a reduction.
        post_bn: What the pooled vector goes through last; a batch norm or nothing.
        num_features: Length of the pooled vector.

    Shape:
        (B, C, H, W), (B, H, W, C) or (B, N, C) -> (B, num_features)
    """

    num_features: int

    def __init__(self, in_features: int, *, dim: int = 256, reduction: str = "none") -> None:
        super().__init__()
        self.in_features = in_features
        self.post_bn = nn.Identity()
        self.layout = "NCHW"
        self.num_prefix_tokens = 0
        self.reduction, self.reduced_features = make_reduction(reduction, in_features, dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.post_bn(self.pool(self.reduction(self.channels_first(features))))

    def pool(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def channels_first(self, features: Tensor) -> Tensor:
        """The map as (B, C, H, W); tokens become a map of one row."""
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        if self.layout == "NLC":
            return features[:, self.num_prefix_tokens :].mT.unsqueeze(2)
        return features


class AveragePooling(GlobalPooling):
    """Mean over all positions: first-order pooling, for comparison.

    Shape:
        (B, C, H, W) -> (B, D)
    """

    def __init__(self, in_features: int, *, dim: int = 256, reduction: str = "none") -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        self.num_features = self.reduced_features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3))


class CovariancePooling(GlobalPooling):
    """Reduce the channels, pool the approximate root of their covariance, flatten it.

    Takes the place of global average pooling in front of a linear classifier.

    Args:
        in_features: Channels of the backbone's last feature map, C.
        dim: Channels after the reduction, D.
        reduction: ``conv-bn-relu`` (as published), ``linear`` or ``none``.
        num_iterations: Newton-Schulz steps.
        pre_norm: ``trace`` or ``frobenius``; see `covtool.ops.isqrt_covariance`.
        post_norm: ``trace``, ``frobenius``, ``none``, or ``batchnorm``: a batch norm of the
            vector in place of the scale.

    Attributes:
        num_features: D*(D+1)/2: 32,896 for D = 256.

    Shape:
        (B, C, H, W) -> (B, num_features)

    Source:
        Li, Xie, Wang, Gao. "Towards Faster Training of Global Covariance Pooling Networks
        by Iterative Matrix Square Root Normalization", CVPR 2018.
    """

    def __init__(
        self,
        in_features: int,
        *,
        dim: int = 256,
        reduction: str = "conv-bn-relu",
        num_iterations: int = 5,
        pre_norm: str = "trace",
        post_norm: str = "trace",
    ) -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        self.num_features = self.reduced_features * (self.reduced_features + 1) // 2
        self.num_iterations = num_iterations
        self.pre_norm = pre_norm
        self.post_norm = "none" if post_norm == "batchnorm" else post_norm
        if post_norm == "batchnorm":
            self.post_bn = nn.BatchNorm1d(self.num_features)

    def pool(self, features: Tensor) -> Tensor:
        root = isqrt_covariance(
            features,
            num_iterations=self.num_iterations,
            pre_norm=self.pre_norm,
            post_norm=self.post_norm,
        )
        return triu_vec(root)
