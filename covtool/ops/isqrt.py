"""The approximate square root of a covariance, straight from the feature map (iSQRT-COV).

With X the centered features (C x N), every Newton-Schulz iterate is a polynomial in its matrix,
and p(X X') X = X p(X' X). So the very same function can be iterated on the N x N Gram matrix:

    root(X X' / N) = X (Z(X' X / s) / sqrt(s N)) X',   s = trace(X' X),

where Z is the iterate that approaches the inverse root. At 7 x 7 positions and 256 channels that
is 140 times fewer operations for each product.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from covtool.errors import UnknownVariantError
from covtool.ops.congruence import congruence_triangle, gram
from covtool.ops.covariance import centered_positions, triu_vec
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale
from covtool.ops.newton_schulz import newton_schulz_inverse_root, newton_schulz_root
from covtool.ops.precision import at_least_float32, full_precision

Side = Literal["auto", "channels", "positions"]


def trace_scale(gram: Tensor) -> Tensor:
    """Trace of X X', shape (B, 1, 1), from X X' or from X' X."""
    return gram.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]


def frobenius_scale(gram: Tensor) -> Tensor:
    """Frobenius norm of X X', shape (B, 1, 1), from X X' or from X' X."""
    trace = trace_scale(gram)
    unit = gram / one_where_zero(trace)  # squares of the entries could leave float32's range
    return trace * root_of_scale(unit.square().sum(dim=(-2, -1), keepdim=True))


Scale = Callable[[Tensor], Tensor]
"""Maps the Gram matrices to one number each, shape (B, 1, 1)."""

PRE_NORMS: dict[str, Scale] = {"trace": trace_scale, "frobenius": frobenius_scale}
# Without a norm the root of the scaled covariance stays as it is.
POST_NORMS: dict[str, Scale | None] = {**PRE_NORMS, "none": None}


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
        pre_norm: Norm that the covariance is divided by first: ``trace`` or ``frobenius``.
        post_norm: Norm whose root the result is multiplied by: ``trace``, ``frobenius``, or
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
        >>> import torch
        >>> isqrt_covariance(torch.rand(2, 8, 7, 7)).shape
        torch.Size([2, 8, 8])
    """
    return _pooled(features, (pre_norm, post_norm), num_iterations, side, triangle=False)


def isqrt_triangle(
    features: Tensor,
    *,
    num_iterations: int = 5,
    pre_norm: str = "trace",
    post_norm: str = "trace",
    side: Side = "auto",
) -> Tensor:
    """Return the upper triangle of `isqrt_covariance`, as `triu_vec` orders it: (B, C*(C+1)/2).

    Iterated on N x N matrices it is computed without the C x C matrices and their gradient, in half
    the memory. Args and errors as `isqrt_covariance`.
    """
    return _pooled(features, (pre_norm, post_norm), num_iterations, side, triangle=True)


def gram_sqrt_newton_schulz(
    factor: Tensor, *, num_iterations: int = 5, side: Side = "auto"
) -> Tensor:
    """Approximate square root of A A' from a factor A: `isqrt_covariance` without the centering.

    Args:
        factor: A, shape (B, C, N), in float32 or float64. Not modified.
        num_iterations: Newton-Schulz steps, at least 1.
        side: Side that is iterated on, see `isqrt_covariance`.

    Returns:
        Symmetric matrices, shape (B, C, C).
    """
    return _root(factor, (trace_scale, trace_scale), num_iterations, side, positions=1)


def cheaper_side(channels: int, positions: int, *, num_iterations: int) -> Side:
    """Return the side with fewer multiplications: ``channels`` or ``positions``."""
    # Matrix products of all steps; the first and the last one need fewer.
    products = 2 * num_iterations
    on_channels = channels**2 * positions + products * channels**3
    on_positions = 2 * channels * positions**2 + channels**2 * positions + products * positions**3
    return "positions" if on_positions < on_channels else "channels"


def _pooled(
    features: Tensor, names: tuple[str, str], num_iterations: int, side: Side, *, triangle: bool
) -> Tensor:
    pre_norm, post_norm = names
    if pre_norm not in PRE_NORMS:
        raise UnknownVariantError("pre-norm", pre_norm, tuple(PRE_NORMS))
    if post_norm not in POST_NORMS:
        raise UnknownVariantError("post-norm", post_norm, tuple(POST_NORMS))
    norms = PRE_NORMS[pre_norm], POST_NORMS[post_norm]
    with full_precision(features):
        centered = centered_positions(at_least_float32(features))
        positions = centered.shape[-1]
        root = _root(centered, norms, num_iterations, side, positions=positions, triangle=triangle)
        return root.to(features.dtype)


def _root(
    factor: Tensor,
    norms: tuple[Scale, Scale | None],
    num_iterations: int,
    side: Side,
    *,
    positions: int,
    triangle: bool = False,
) -> Tensor:
    """Return the root of A A' / `positions`, scaled before and after by `norms` of A A'.

    The factor is brought to a largest entry of 1, so that no product leaves the range of numbers;
    everything else is scaled where it is smallest, on the iterated matrices.
    """
    largest = one_where_zero(factor.detach().abs().amax(dim=(-2, -1), keepdim=True))
    # Detached above: a constant factor, which `scale` and the norms take out again exactly.
    factor = factor / largest
    if side == "auto":
        side = cheaper_side(*factor.shape[-2:], num_iterations=num_iterations)
    # X X' and X' X have the same trace and norm, so the side does not matter to the scales.
    small = gram(factor.mT if side == "channels" else factor)
    pre_norm, post_norm = norms
    before = pre_norm(small)
    scale: Tensor | float = 1.0
    if post_norm is not None:
        after = before if post_norm is pre_norm else post_norm(small)
        scale = root_of_scale(after / positions) * largest
    unit = small / one_where_zero(before)
    if side == "channels":
        root = newton_schulz_root(unit, num_iterations=num_iterations) * scale
        return triu_vec(root) if triangle else root
    inverse_root = newton_schulz_inverse_root(unit, num_iterations=num_iterations)
    # The scale goes to the small matrix, not to the C x C product.
    middle = inverse_root * (scale / one_where_zero(before))
    if triangle:
        return congruence_triangle(factor, middle)
    return factor @ middle @ factor.mT
