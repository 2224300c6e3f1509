"""Square roots of symmetric positive semi-definite matrices."""

import torch
from torch import Tensor

from covtool.errors import ShapeError
from covtool.ops.newton_schulz import newton_schulz_root
from covtool.ops.precision import at_least_float32, full_precision


def matrix_sqrt_newton_schulz(cov: Tensor, *, num_iterations: int = 5) -> Tensor:
    """Square root by coupled Newton-Schulz iteration (iSQRT-COV).

    The iteration converges only for small eigenvalues, so `cov` is divided by its trace
    first, which brings them into [0, 1], and the result is scaled back at the end. It
    uses matrix products only: fast on a GPU, and its gradient needs no eigenvectors.

    Args:
        cov: Symmetric positive semi-definite matrices, shape (B, C, C). Not modified.
        num_iterations: Newton-Schulz steps, at least 1. More steps are closer to exact
            for small eigenvalues; time and memory grow linearly.

    Returns:
        Approximate square roots, shape (B, C, C), dtype and device of `cov`; half precision
        is computed in float32. A zero matrix gives a zero matrix, with a zero gradient.

    Raises:
        ShapeError: `cov` is not a batch of square matrices.
        ArgumentError: `num_iterations` is less than 1.

    Source:
        Li, Xie, Wang, Gao. "Towards Faster Training of Global Covariance Pooling Networks
        by Iterative Matrix Square Root Normalization", CVPR 2018, equation 5.

    Example:
        >>> root = matrix_sqrt_newton_schulz(torch.eye(3).expand(1, 3, 3), num_iterations=12)
        >>> torch.allclose(root @ root, torch.eye(3), atol=1e-5)
        True
    """
    if cov.ndim != 3 or cov.shape[-2] != cov.shape[-1]:
        raise ShapeError.expected("cov", "(B, C, C)", cov)
    with full_precision(cov):
        precise = at_least_float32(cov)
        trace = precise.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
        scale = one_where_zero(trace)
        root = newton_schulz_root(precise / scale, num_iterations=num_iterations)
        return (root * root_of_scale(trace)).to(cov.dtype)


def one_where_zero(scale: Tensor) -> Tensor:
    """`scale`, with 1 in place of 0: safe to divide by, in value and in gradient."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def root_of_scale(scale: Tensor) -> Tensor:
    """Square root of a scale that is at least 0; at 0 both value and gradient are 0."""
    return torch.where(scale > 0, one_where_zero(scale).sqrt(), torch.zeros_like(scale))
