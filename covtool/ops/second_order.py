"""Symmetric matrices of second order from feature maps, which the heads vectorize.

Every function takes (B, C, H, W) to (B, S, S), S = C or C + 1, in the dtype it is given.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from covtool.errors import ShapeError
from covtool.ops.covariance import centered_positions, covariance_pool
from covtool.ops.matrix_approximants import (
    PADE_DEGREE,
    TAYLOR_DEGREE,
    matrix_sqrt_pade,
    matrix_sqrt_taylor,
)
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale
from covtool.ops.precision import on_cpu_without
from covtool.ops.spectral import SpectralResult, gram_function
from covtool.ops.spectral_functions import SpectralFunction, logarithm, power

PostNorm = Callable[[SpectralResult], Tensor]


def computed_in(
    features: Tensor, *, matrix: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Tensor:
    """Return ``matrix(features)``, computed in `dtype` and returned in the features' own."""
    return on_cpu_without(features, matrix, dtype)


def covariance_factor(features: Tensor) -> Tensor:
    """Return A with A A' the covariance: the centered positions over the root of N, (B, C, N)."""
    centered = centered_positions(features)
    # Divided here, where there are C x N numbers: A A' is the covariance as it comes.
    root: float = centered.shape[-1] ** 0.5
    return centered / root


def power_covariance(
    features: Tensor,
    *,
    alpha: float = 0.5,
    gradient: str = "exact",
    order: int | None = None,
    normalize: PostNorm | None = None,
) -> Tensor:
    """Return the covariance to a power, by eigendecomposition (MPN-COV).

    Args:
        features: Shape (B, C, H, W). Not modified.
        alpha: The power, in (0, 1].
        gradient: Gradient rule, see `covtool.ops.spectral.gram_function`.
        order: Order of the rule.
        normalize: `by_frobenius_norm` or `by_spectral_norm`; None for neither.

    Raises:
        ShapeError: `features` does not have four dimensions.
        ArgumentError: `alpha` is out of range, or `gradient` does not go with it.

    Source:
        Li, Xie, Wang, Zuo. "Is Second-order Information Helpful for Large-scale Visual
        Recognition?", ICCV 2017.
    """
    return _function_of_covariance(features, power(alpha), gradient, order, normalize)


def log_covariance(
    features: Tensor, *, eps: float = 1e-3, gradient: str = "exact", order: int | None = None
) -> Tensor:
    """Return the logarithm of the covariance plus `eps` on its diagonal (log-Euclidean pooling).

    Args and errors as `power_covariance`; see `covtool.ops.spectral_functions.logarithm`.
    """
    return _function_of_covariance(features, logarithm(eps), gradient, order, None)


def by_frobenius_norm(power_of_cov: SpectralResult) -> Tensor:
    """Return the matrix over its Frobenius norm (mpn+F); a zero matrix stays zero."""
    matrix = power_of_cov.matrix
    return matrix / one_where_zero(root_of_scale(matrix.square().sum(dim=(-2, -1), keepdim=True)))


def by_spectral_norm(power_of_cov: SpectralResult, *, alpha: float = 0.5) -> Tensor:
    """Divide by the largest eigenvalue (mpn+M), that of the covariance to the power `alpha`."""
    largest = power_of_cov.eigenvalues[:, :1, None]
    # The power of the covariance has the power of its eigenvalues.
    return power_of_cov.matrix / one_where_zero(largest).pow(alpha)


def scaled_root_covariance(
    features: Tensor, *, gradient: str = "exact", order: int | None = None
) -> Tensor:
    """Return the root of the covariance times 1 + |Σ^½ exp(-Σ)|, its Frobenius norm (SEB).

    The norm is large where eigenvalues near 1/2 and below carry the variance: images of small
    eigenvalues get more weight. The factor is differentiated along with the root.

    Args and errors as `power_covariance`.

    Source:
        Song, Sebe, Wang. "On the Eigenvalues of Global Covariance Pooling for Fine-grained Visual
        Recognition", TPAMI 2022: the scaling eigen branch, as in the authors' code.
    """

    def scaled(root: SpectralResult) -> Tensor:
        eigenvalues = root.eigenvalues
        squares = (eigenvalues * torch.exp(-2 * eigenvalues)).sum(dim=1)[:, None, None]
        return root.matrix * (1 + root_of_scale(squares))

    return _function_of_covariance(features, power(0.5), gradient, order, scaled)


def taylor_root_covariance(features: Tensor, *, degree: int = TAYLOR_DEGREE) -> Tensor:
    """`matrix_sqrt_taylor` of the covariance (MTP)."""
    return matrix_sqrt_taylor(covariance_pool(features), degree=degree)


def pade_root_covariance(features: Tensor, *, degree: int = PADE_DEGREE) -> Tensor:
    """`matrix_sqrt_pade` of the covariance (MPA)."""
    return matrix_sqrt_pade(covariance_pool(features), degree=degree)


def second_moments(features: Tensor) -> Tensor:
    """Return the mean of x x' over the positions, not centered (bilinear pooling).

    Raises:
        ShapeError: `features` does not have four dimensions.

    Source:
        Lin, RoyChowdhury, Maji. "Bilinear CNN Models for Fine-grained Visual Recognition", ICCV
        2015; the mean in place of their sum is the same after the normalization.
    """
    flat = _positions(features)
    return flat @ flat.mT / flat.shape[-1]


def gaussian_embedding(
    features: Tensor, *, gradient: str = "exact", order: int | None = None
) -> Tensor:
    """Return the root of [[Σ + μμ', μ], [μ', 1]]: a Gaussian as one symmetric positive matrix.

    The matrix is the second moment of the positions with a 1 appended to each, so it has a factor
    with N columns, and its root costs what that of a covariance does.

    Args:
        features: Shape (B, C, H, W). Not modified.
        gradient: Gradient rule, see `covtool.ops.spectral.gram_function`.
        order: Order of the rule.

    Returns:
        Shape (B, C + 1, C + 1).

    Source:
        Wang, Li, Zhang. "G2DeNet: Global Gaussian Distribution Embedding Network and Its
        Application to Visual Recognition", CVPR 2017, equation 4 and its square root.
    """
    flat = _positions(features)
    # A row of ones: the moments of [x; 1] hold the covariance, the mean and a 1.
    extended = torch.cat([flat, torch.ones_like(flat[:, :1])], dim=1)
    factor = extended / flat.shape[-1] ** 0.5
    return gram_function(factor, power(0.5), gradient=gradient, order=order).matrix


def _function_of_covariance(
    features: Tensor,
    function: SpectralFunction,
    gradient: str,
    order: int | None,
    normalize: PostNorm | None,
) -> Tensor:
    factor = covariance_factor(features)
    result = gram_function(factor, function, gradient=gradient, order=order)
    return result.matrix if normalize is None else normalize(result)


def _positions(features: Tensor) -> Tensor:
    if features.ndim != 4:
        raise ShapeError.expected("features", "(B, C, H, W)", features)
    return features.flatten(2)
