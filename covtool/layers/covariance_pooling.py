"""Pooling layers that keep second-order statistics as one symmetric matrix."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from covtool.layers.channel_dropout import AdaptiveChannelDropout
from covtool.layers.global_pooling import GlobalPooling
from covtool.ops.covariance import covariance_pool, triu_vec
from covtool.ops.isqrt import isqrt_covariance, isqrt_triangle
from covtool.ops.power_normalization import shifted_signed_sqrt, signed_sqrt, unit_length
from covtool.ops.precision import at_least_float32, full_precision
from covtool.ops.python_backward import records_operations
from covtool.ops.second_order import computed_in, second_moments

MatrixFunction = Callable[[Tensor], Tensor]
"""Feature maps (B, D, H, W) to symmetric matrices (B, S, S); holds no parameters."""

VECTORIZATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "triu": triu_vec,
    "full": lambda matrices: matrices.flatten(1),
}

TRIANGLES: dict[MatrixFunction, Callable[..., Tensor]] = {isqrt_covariance: isqrt_triangle}
"""Functions that give the upper triangle alone, in less memory, by what gives the matrices."""


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
            precise = at_least_float32(features)
            # What is recorded has to be plain operations on the matrices.
            whole = self.vec != "triu" or records_operations()
            triangle = None if whole else triangle_of(self.matrix)
            vectors = self.flatten(self.matrix(precise)) if triangle is None else triangle(precise)
            return self.normalize(vectors).to(features.dtype)

    def vectorize(self, matrices: Tensor) -> Tensor:
        """Symmetric matrices (B, S, S) as vectors (B, num_features)."""
        return self.normalize(self.flatten(matrices))

    def flatten(self, matrices: Tensor) -> Tensor:
        """The upper triangles or all of symmetric matrices (B, S, S), as they are."""
        return VECTORIZATIONS[self.vec](matrices)

    def normalize(self, vectors: Tensor) -> Tensor:
        """Vectors as they leave the layer; here as they come."""
        return vectors


def triangle_of(matrix: MatrixFunction) -> Callable[[Tensor], Tensor] | None:
    """Return the function to the upper triangle of `matrix` itself; None where there is none."""
    if isinstance(matrix, partial):
        if matrix.func is computed_in:
            inner = triangle_of(matrix.keywords["matrix"])
            return None if inner is None else partial(matrix, matrix=inner)
        form = None if matrix.args else TRIANGLES.get(matrix.func)
        return None if form is None else partial(form, **matrix.keywords)
    return TRIANGLES.get(matrix)


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

    def normalize(self, vectors: Tensor) -> Tensor:
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
