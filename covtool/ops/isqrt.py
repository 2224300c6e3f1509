"""The approximate square root of a covariance, straight from the feature map (iSQRT-COV).

With X the centered features (C x N), every Newton-Schulz iterate is a polynomial in its matrix,
and p(X X') X = X p(X' X). So the very same function can be iterated on the N x N Gram matrix:

    root(X X' / N) = sqrt(s / N) * U Z(U' U) U',   U = X / sqrt(s),   s = trace(X' X),

where Z is the iterate that approaches the inverse root. At 7 x 7 positions and 256 channels that
is 140 times fewer operations for each product.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from covtool.errors import UnknownVariantError
from covtool.ops.covariance import centered_positions
from covtool.ops.matrix_sqrt import (
    newton_schulz_inverse_root,
    newton_schulz_root,
    one_where_zero,
    root_of_scale,
)
from covtool.ops.precision import at_least_float32, full_precision

Side = Literal["auto", "channels", "positions"]


def trace_scale(centered: Tensor) -> Tensor:
    """Trace of X X', shape (B, 1, 1), from X (B, C, N)."""
    return centered.square().sum(dim=(-2, -1), keepdim=True)


def frobenius_scale(centered: Tensor) -> Tensor:
    """Frobenius norm of X X', shape (B, 1, 1), from X (B, C, N), on the smaller side."""
    trace = trace_scale(centered)
    unit = centered / root_of_scale(one_where_zero(trace))  # fourth powers leave float32's range
    smaller = unit if unit.shape[-2] <= unit.shape[-1] else unit.mT
    squares = (smaller @ smaller.mT).square().sum(dim=(-2, -1), keepdim=True)
    return trace * root_of_scale(squares)


def no_scale(centered: Tensor) -> Tensor:
    """N, shape (B, 1, 1): leaves the root of the scaled covariance as it is."""
    return torch.full_like(centered[:, :1, :1], centered.shape[-1])


SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "trace": trace_scale,
    "frobenius": frobenius_scale,
    "none": no_scale,
}


def isqrt_covariance(
    features: Tensor,
    *,
    num_iterations: int = 5,
    pre_norm: str = "trace",
    post_norm: str = "trace",
    side: Side = "auto",
) -> Tensor:
    """Approximate square root of the covariance of the channels (iSQRT-COV pooling).

    Equals ``matrix_sqrt_newton_schulz(covariance_pool(features))`` and is computed on whichever
    side, channels or positions, costs fewer operations.

    Args:
        features: Feature maps, shape (B, C, H, W). Not modified.
        num_iterations: Newton-Schulz steps, at least 1.
        pre_norm: What the covariance is divided by first: ``trace`` or ``frobenius``.
        post_norm: Whose square root the result is multiplied by: ``trace``, ``frobenius``, or
            ``none``. The result approaches the square root where it is the same as `pre_norm`.
        side: ``channels`` iterates on C x C, ``positions`` on N x N matrices; both are the same
            function.

    Returns:
        Symmetric matrices, shape (B, C, C), dtype and device of `features`; half precision is
        computed in float32. Maps without variance (zero, constant, 1 x 1) give zero, with a
        gradient of zero where all centered features are exactly zero.

    Raises:
        ShapeError: `features` does not have four dimensions.
        ArgumentError: `num_iterations` is less than 1.
        UnknownVariantError: There is no such norm.

    Source:
        Li, Xie, Wang, Gao. "Towards Faster Training of Global Covariance Pooling Networks
        by Iterative Matrix Square Root Normalization", CVPR 2018. The N x N form is ours.

    Example:
        >>> isqrt_covariance(torch.rand(2, 8, 7, 7)).shape
        torch.Size([2, 8, 8])
    """
    scale_before, scale_after = _scale("pre-norm", pre_norm), _scale("post-norm", post_norm)
    with full_precision(features):
        centered = centered_positions(at_least_float32(features))
        before = scale_before(centered)
        after = before if post_norm == pre_norm else scale_after(centered)
        unit = centered / root_of_scale(one_where_zero(before))
        root = _root(unit, num_iterations, side)
        return (root * root_of_scale(after / centered.shape[-1])).to(features.dtype)


def gram_sqrt_newton_schulz(
    factor: Tensor, *, num_iterations: int = 5, side: Side = "auto"
) -> Tensor:
    """Approximate square root of A A' from a factor A: `isqrt_covariance` without the centering.

    Args:
        factor: A, shape (B, C, N), in float32 or float64. Not modified.
        num_iterations: Newton-Schulz steps, at least 1.
        side: As in `isqrt_covariance`.

    Returns:
        Symmetric matrices, shape (B, C, C).
    """
    trace = trace_scale(factor)
    unit = factor / root_of_scale(one_where_zero(trace))
    return _root(unit, num_iterations, side) * root_of_scale(trace)


def cheaper_side(channels: int, positions: int, *, num_iterations: int) -> Side:
    """The side with fewer multiplications: ``channels`` or ``positions``."""
    products = 3 * num_iterations - 3
    on_channels = channels**2 * positions + products * channels**3
    on_positions = 2 * channels * positions**2 + channels**2 * positions + products * positions**3
    return "positions" if on_positions < on_channels else "channels"


def _root(unit: Tensor, num_iterations: int, side: Side) -> Tensor:
    if side == "auto":
        side = cheaper_side(*unit.shape[-2:], num_iterations=num_iterations)
    return _ROOTS[side](unit, num_iterations)


def _root_on_channels(unit: Tensor, num_iterations: int) -> Tensor:
    return newton_schulz_root(unit @ unit.mT, num_iterations=num_iterations)


def _root_on_positions(unit: Tensor, num_iterations: int) -> Tensor:
    inverse_root = newton_schulz_inverse_root(unit.mT @ unit, num_iterations=num_iterations)
    return unit @ inverse_root @ unit.mT


_ROOTS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "channels": _root_on_channels,
    "positions": _root_on_positions,
}


def _scale(kind: str, name: str) -> Callable[[Tensor], Tensor]:
    if name not in SCALES:
        raise UnknownVariantError(kind, name, tuple(SCALES))
    return SCALES[name]
