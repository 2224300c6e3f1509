"""Pooling layers that keep second-order statistics as one symmetric matrix."""

from collections.abc import Callable

from torch import Tensor, nn

from covtool.layers.channel_dropout import AdaptiveChannelDropout
from covtool.layers.global_pooling import GlobalPooling
from covtool.ops.covariance import covariance_pool, triu_vec
from covtool.ops.isqrt import isqrt_covariance
from covtool.ops.power_normalization import shifted_signed_sqrt, signed_sqrt, unit_length
from covtool.ops.precision import at_least_float32, full_precision
from covtool.ops.second_order import second_moments

MatrixFunction = Callable[[Tensor], Tensor]
"""Feature maps (B, D, H, W) to symmetric matrices (B, S, S); holds no parameters."""

VECTORIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "triu": triu_vec,
    "full": lambda matrices: matrices.flatten(1),
}


class CovariancePooling(GlobalPooling):
    """Reduce the channels, pool a matrix of second order, flatten it.

    Takes the place of global average pooling in front of a linear classifier.

    Args:
        in_features: Channels of the backbone's feature map, C.
        dim: Channels after the reduction, D.
        reduction: ``conv-bn-relu`` (as published), ``linear`` or ``none``.
        matrix: Function of the features that is pooled: the approximate root of the covariance
            (iSQRT-COV), or any other of `covtool.ops.second_order`.
        extra_rows: Rows that the matrix has more than channels: S = D + `extra_rows`.
        vec: ``triu``, the upper triangle, row by row; or ``full``, all S*S numbers.

    Attributes:
        matrix: The function. It may be exchanged at any time: no parameter depends on it.
        num_features: S*(S+1)/2 or S*S: 32,896 or 65,536 for S = 256.

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
        matrix: MatrixFunction = isqrt_covariance,
        extra_rows: int = 0,
        vec: str = "triu",
    ) -> None:
        super().__init__(in_features, dim=dim, reduction=reduction)
        size = self.reduced_features + extra_rows
        # A symmetric matrix: its upper triangle says everything.
        self.num_features = size * (size + 1) // 2 if vec == "triu" else size**2
        self.matrix = matrix
        self.vec = vec

    def pool(self, features: Tensor) -> Tensor:
        # Half precision has too few digits for products of features, and autocast would choose it.
        with full_precision(features):
            return self.vectorize(self.matrix(at_least_float32(features))).to(features.dtype)

    def vectorize(self, matrices: Tensor) -> Tensor:
        """Symmetric matrices (B, S, S) as vectors (B, num_features)."""
        return VECTORIZATIONS[self.vec](matrices)


class BatchNormCovariancePooling(CovariancePooling):
    """Covariance pooling whose vector goes through a batch norm, in place of a scale."""

    def __init__(self, in_features: int, **arguments: object) -> None:
        super().__init__(in_features, **arguments)
        self.post_bn = nn.BatchNorm1d(self.num_features)


class BilinearPooling(CovariancePooling):
    """Second moments, not centered; signed square root and unit length of the vector (B-CNN).

    Attributes:
        thresh: Shift of `covtool.ops.power_normalization.shifted_signed_sqrt`, for published
            weights; None for `signed_sqrt`.

    Source:
        Lin, RoyChowdhury, Maji. "Bilinear CNN Models for Fine-grained Visual Recognition", ICCV
        2015.
    """

    def __init__(self, in_features: int, **arguments: object) -> None:
        super().__init__(in_features, **{"matrix": second_moments, **arguments})
        self.thresh: float | None = None

    def vectorize(self, matrices: Tensor) -> Tensor:
        vectors = super().vectorize(matrices)
        if self.thresh is None:
            return unit_length(signed_sqrt(vectors))
        return unit_length(shifted_signed_sqrt(vectors, thresh=self.thresh))


class DropCovPooling(CovariancePooling):
    """Covariance without normalization, and adaptive channel dropout before it in training.

    Source:
        Wang, Gao, Zhang, Xie, Li, Hu. "DropCov: A Simple yet Effective Method for Improving Deep
        Architectures", NeurIPS 2022.
    """

    def __init__(self, in_features: int, **arguments: object) -> None:
        super().__init__(in_features, **{"matrix": covariance_pool, **arguments})
        self.dropout = AdaptiveChannelDropout()

    def pool(self, features: Tensor) -> Tensor:
        # After the reduction, so that the channels of the covariance are dropped, not its inputs.
        return super().pool(self.dropout(features))
