"""Matrix functions by eigendecomposition, with a choice of gradient rules (MPN-COV and kin).

A covariance is A A' of a factor A (C x N): the centered features over the root of N. Its
eigenvectors are those of A A' or, by A v / |A v|, of A' A; the smaller of the two matrices is
decomposed. Directions without variance, more than C - N of them, never meet the solver then, and
on both sides eigenvalues that are zero up to rounding are set to zero: what such directions
contribute to the gradient of the features is zero, because A has no part in them.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # public, but not in __all__

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.eigen_gradients import GRADIENTS, NEWTON_SCHULZ, EigenGradientRule, slopes
from covtool.ops.isqrt import Side, gram_sqrt_newton_schulz
from covtool.ops.matrix_sqrt import matrix_sqrt_newton_schulz
from covtool.ops.precision import at_least_float32, full_precision, with_float64
from covtool.ops.python_backward import applied
from covtool.ops.spectral_functions import SpectralFunction, power


class SpectralResult(NamedTuple):
    """A function of A A'.

    Attributes:
        matrix: f(A A'), shape (B, C, C).
        eigenvalues: Eigenvalues of A A', descending, shape (B, min(C, N)); with a gradient.
    """

    matrix: Tensor
    eigenvalues: Tensor


class Differentiable(NamedTuple):
    """A function of the eigenvalues, and the rule that differentiates its matrix function."""

    function: SpectralFunction
    weights: EigenGradientRule | None
    order: int

    def slopes(self, eigenvalues: Tensor) -> Tensor:
        """See `covtool.ops.eigen_gradients.slopes`."""
        return slopes(eigenvalues, self.function, self.weights, self.order)


def differentiable(
    function: SpectralFunction, gradient: str = "exact", order: int | None = None
) -> Differentiable:
    """Combine a function with a gradient rule.

    Raises:
        UnknownVariantError: There is no such rule.
        ArgumentError: The order does not go with the rule, or the rule not with the function.
    """
    rule = GRADIENTS[gradient]
    if gradient == NEWTON_SCHULZ and not function.is_square_root:
        raise ArgumentError(
            "The gradient of Newton-Schulz iterations is that of a square root.",
            hint="Use a power of 0.5, or another gradient rule.",
        )
    return Differentiable(function, rule.weights, rule.checked_order(order))


def gram_function(
    factor: Tensor,
    function: SpectralFunction,
    *,
    gradient: str = "exact",
    order: int | None = None,
    side: Side = "auto",
) -> SpectralResult:
    """Return f(A A') from A, by an eigendecomposition on the smaller side.

    Args:
        factor: A, shape (B, C, N). Not modified.
        function: Function of the eigenvalues.
        gradient: A row of `covtool.ops.eigen_gradients.GRADIENTS`: ``exact`` is the gradient; the
            others are published remedies. Or ``newton-schulz``, for the square root: the value by
            eigendecomposition, the gradient of the Newton-Schulz iteration.
        order: Degree, count or number of steps of the rule; None for the published one.
        side: ``channels`` decomposes A A', ``positions`` A' A; both are the same function.

    Returns:
        Symmetric matrices and eigenvalues, dtype and device of `factor`; half precision is
        computed in float32. Where `factor` is not finite, neither is the result.

    Raises:
        ShapeError: `factor` is not a batch of matrices.
        UnknownVariantError: There is no such rule.
        ArgumentError: ``newton-schulz`` with another function than the square root.

    Source:
        Li, Xie, Wang, Zuo, ICCV 2017 (the root); Song, Sebe, Wang, ICCV 2021 (the rules);
        Bhatia, "Matrix Analysis", theorem V.3.3 (the exact gradient). The N x N form is ours.
    """
    if factor.ndim != 3:
        raise ShapeError.expected("factor", "(B, C, N)", factor)
    with full_precision(factor):
        precise = at_least_float32(factor)
        if side == "auto":
            side = "channels" if factor.shape[1] <= factor.shape[2] else "positions"
        rule = differentiable(function, gradient, order)
        result = SpectralResult(*applied(_GramFunction, precise, rule, side == "channels"))
        if gradient == NEWTON_SCHULZ:
            iterated = gram_sqrt_newton_schulz(precise, num_iterations=rule.order)
            result = result._replace(matrix=_with_gradient_of(result.matrix, iterated))
        return SpectralResult(*(tensor.to(factor.dtype) for tensor in result))


def matrix_sqrt_eigh(cov: Tensor, *, gradient: str = "exact", order: int | None = None) -> Tensor:
    """Square root by eigendecomposition (MPN-COV), differentiated by the given rule.

    Where the features are at hand, `gram_function` is faster: it takes the smaller side.

    Args:
        cov: Symmetric positive semi-definite matrices, shape (B, C, C). Not modified. Eigenvalues
            that are negative or zero up to rounding count as zero.
        gradient: Gradient rule, see `gram_function`.
        order: Order of the rule, see `gram_function`.

    Returns:
        Square roots, shape (B, C, C), dtype and device of `cov`; a zero matrix gives a zero
        matrix. The gradient between two directions without variance, which would be infinite,
        is zero.

    Raises:
        ShapeError: `cov` is not a batch of square matrices.
        UnknownVariantError: There is no such rule.

    Example:
        >>> root = matrix_sqrt_eigh(torch.eye(3).expand(1, 3, 3) * 4)
        >>> torch.allclose(root, 2 * torch.eye(3))
        True
    """
    if cov.ndim != 3 or cov.shape[-2] != cov.shape[-1]:
        raise ShapeError.expected("cov", "(B, C, C)", cov)
    with full_precision(cov):
        precise = at_least_float32(cov)
        rule = differentiable(power(0.5), gradient, order)
        root: Tensor = applied(_MatrixFunction, precise, rule)
        if gradient == NEWTON_SCHULZ:
            iterated = matrix_sqrt_newton_schulz(precise, num_iterations=rule.order)
            root = _with_gradient_of(root, iterated)
        return root.to(cov.dtype)


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and vectors of symmetric matrices, on the CPU where a GPU fails.

    Not finite in, not finite out: LAPACK would raise, or not return.

    Args:
        matrices: Shape (B, n, n).

    Returns:
        Shapes (B, n) and (B, n, n), eigenvectors as columns. Eigenvalues that are zero up to
        rounding, n * eps times the largest, are exactly 0.
    """
    finite = matrices.isfinite().all(dim=-1).all(dim=-1)[:, None]
    # Zeros in place of what is not finite; the result is made NaN again below.
    cleaned = torch.where(finite[..., None], matrices, torch.zeros_like(matrices))
    try:
        # Where there is no float64 there is no eigendecomposition either.
        eigenvalues, vectors = torch.linalg.eigh(cleaned.to(with_float64(matrices.device)))
    except LinAlgError:
        # cuSOLVER gives up on some matrices that LAPACK can decompose.
        if matrices.device.type == "cpu":
            raise
        eigenvalues, vectors = torch.linalg.eigh(cleaned.cpu())
    eigenvalues, vectors = eigenvalues.to(matrices.device), vectors.to(matrices.device)
    eigenvalues, vectors = eigenvalues.flip(-1), vectors.flip(-1)
    # The error of `eigh` is of this size, whatever the true eigenvalue.
    rounding = matrices.shape[-1] * torch.finfo(matrices.dtype).eps * eigenvalues[:, :1]
    eigenvalues = torch.where(eigenvalues > rounding, eigenvalues, torch.zeros_like(eigenvalues))
    return torch.where(finite, eigenvalues, torch.nan), vectors


class _GramFunction(torch.autograd.Function):
    """(A, rule, on channels) -> f(A A'), eigenvalues."""

    @staticmethod
    def forward(
        ctx: Any, factor: Tensor, rule: Differentiable, on_channels: bool
    ) -> tuple[Tensor, Tensor]:
        eigenvalues, vectors = _thin_eigen(factor, on_channels)
        ctx.save_for_backward(factor, eigenvalues, vectors)
        ctx.rule = rule
        # f(0) of the directions that A does not have: a multiple of the identity.
        at_zero = rule.function.value(torch.zeros_like(eigenvalues[:, :1]))
        excess = rule.function.value(eigenvalues) - at_zero
        matrix = (vectors * excess[:, None, :]) @ vectors.mT
        matrix.diagonal(dim1=-2, dim2=-1).add_(at_zero)
        return matrix, eigenvalues

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_eigenvalues: Tensor) -> tuple[Tensor, None, None]:
        factor, eigenvalues, vectors = ctx.saved_tensors
        # All directions outside of A's own share the eigenvalue 0: one more column stands for them.
        with_zero = torch.cat([eigenvalues, torch.zeros_like(eigenvalues[:, :1])], dim=1)
        all_slopes = ctx.rule.slopes(with_zero)
        inside, outside = all_slopes[:, :-1, :-1], all_slopes[:, :-1, -1]
        # d(A A') = dA A' + A dA': twice the symmetric part, so nothing is halved.
        turned = (grad + grad.mT) @ vectors
        inner = vectors.mT @ turned
        weighted = inner * inside + 2 * torch.diag_embed(grad_eigenvalues)
        # Inside of A's directions, and between them and all others, which are never formed.
        left = vectors @ weighted + (turned - vectors @ inner) * outside[:, None, :]
        return left @ (vectors.mT @ factor), None, None


class _MatrixFunction(torch.autograd.Function):
    """(A, rule) -> f(A) of symmetric matrices."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, rule: Differentiable) -> Tensor:
        eigenvalues, vectors = eigh(matrices)
        ctx.save_for_backward(eigenvalues, vectors)
        ctx.rule = rule
        return (vectors * rule.function.value(eigenvalues)[:, None, :]) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        eigenvalues, vectors = ctx.saved_tensors
        inner = vectors.mT @ ((grad + grad.mT) / 2) @ vectors
        return vectors @ (ctx.rule.slopes(eigenvalues) * inner) @ vectors.mT, None


def _thin_eigen(factor: Tensor, on_channels: bool) -> tuple[Tensor, Tensor]:
    """Return the min(C, N) largest eigenvalues of A A' and their vectors: zero for those of 0."""
    rank = min(factor.shape[1:])
    eigenvalues, vectors = eigh(factor @ factor.mT if on_channels else factor.mT @ factor)
    eigenvalues, vectors = eigenvalues[:, :rank], vectors[:, :, :rank]
    positive = eigenvalues > 0
    if not on_channels:
        # |A v| is the root of the eigenvalue: A v over it is a unit vector of A A'.
        lengths = torch.where(positive, eigenvalues, torch.ones_like(eigenvalues)).sqrt()
        vectors = factor @ (vectors / lengths[:, None, :])
    # NaN passes through: it must reach the loss, where a run sees it.
    alive = positive | eigenvalues.isnan()
    return eigenvalues, torch.where(alive[:, None, :], vectors, torch.zeros_like(vectors))


def _with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    # The value of one, the gradient of the other; the difference is exactly zero.
    return value.detach() + (other - other.detach())
