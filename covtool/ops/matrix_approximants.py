"""Matrix square roots by a Taylor polynomial and by a Padé approximant (MTP, MPA)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from covtool.errors import ShapeError
from covtool.ops.lyapunov import solve_lyapunov
from covtool.ops.matrix_sqrt import one_where_zero, root_of_scale
from covtool.ops.pade import root_pade, root_series
from covtool.ops.precision import at_least_float32, full_precision
from covtool.ops.python_backward import applied

TAYLOR_DEGREE = 11
PADE_DEGREE = 5


def matrix_sqrt_taylor(cov: Tensor, *, degree: int = TAYLOR_DEGREE) -> Tensor:
    """Square root by the Taylor polynomial of sqrt(1 - z) at z = I - cov / |cov| (MTP).

    The gradient is that of the exact square root at the result, by the Lyapunov equation.

    Args:
        cov: Symmetric positive semi-definite matrices, shape (B, C, C). Not modified.
        degree: Degree of the polynomial; more is closer to exact for small eigenvalues. The
            authors' code stops at 10.

    Returns:
        Approximate square roots, shape (B, C, C), dtype and device of `cov`; half precision
        is computed in float32. A zero matrix gives a zero matrix, with a zero gradient.

    Raises:
        ShapeError: `cov` is not a batch of square matrices.

    Source:
        Song, Sebe, Wang. "Fast Differentiable Matrix Square Root", ICLR 2022, section 2.1.
    """
    coefficients = [float(c) for c in root_series(degree + 1)]
    return _sqrt(cov, lambda z: _matrix_polynomial(coefficients, z))


def matrix_sqrt_pade(cov: Tensor, *, degree: int = PADE_DEGREE) -> Tensor:
    """Square root by the [degree/degree] Padé approximant of sqrt(1 - z) (MPA).

    As `matrix_sqrt_taylor`, and much closer for small eigenvalues at the same number of products.
    """
    numerator, denominator = root_pade(degree)
    return _sqrt(
        cov,
        lambda z: torch.linalg.solve(
            _matrix_polynomial(denominator, z), _matrix_polynomial(numerator, z)
        ),
    )


def _sqrt(cov: Tensor, root_of_complement: Callable[[Tensor], Tensor]) -> Tensor:
    if cov.ndim != 3 or cov.shape[-2] != cov.shape[-1]:
        raise ShapeError.expected("cov", "(B, C, C)", cov)
    with full_precision(cov):
        precise = at_least_float32(cov)
        root: Tensor = applied(_SquareRoot, precise, root_of_complement)
        return root.to(cov.dtype)


class _SquareRoot(torch.autograd.Function):
    """(A, map of I - A/|A| to the root of A/|A|) -> root of A, with the Lyapunov backward."""

    @staticmethod
    def forward(ctx: Any, cov: Tensor, root_of_complement: Callable[[Tensor], Tensor]) -> Tensor:
        trace = cov.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
        unit = cov / one_where_zero(trace)  # squares of small entries would leave float32's range
        # Eigenvalues in [0, 1], where the series of the root converges.
        norm = torch.linalg.matrix_norm(unit, keepdim=True)
        identity = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
        root = root_of_complement(identity - unit / one_where_zero(norm))
        root = (root + root.mT) / 2 * root_of_scale(trace * norm)
        ctx.save_for_backward(root)
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # With dA = Y dY + dY Y, the gradient of A solves the same equation for that of Y.
        (root,) = ctx.saved_tensors
        return solve_lyapunov(root, (grad + grad.mT) / 2), None


def _matrix_polynomial(coefficients: Sequence[float], z: Tensor) -> Tensor:
    """Constant term first; Horner, so `degree` - 1 products."""
    identity = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).expand_as(z)
    if len(coefficients) == 1:
        return coefficients[0] * identity
    total = coefficients[-1] * z + coefficients[-2] * identity
    for coefficient in reversed(coefficients[:-2]):
        total = total @ z + coefficient * identity
    return total
