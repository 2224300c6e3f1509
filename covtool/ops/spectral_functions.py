"""Functions of eigenvalues, with the two derivatives that a matrix function's gradient needs.

The gradient of f(A), A symmetric, contains the divided differences (f(a) - f(b)) / (a - b) of the
function itself (Daleckii-Krein). Each is written here without the difference a - b below the
fraction, so that close and equal eigenvalues do no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from covtool.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralFunction:
    """A function of nonnegative eigenvalues; all three members work element by element.

    Attributes:
        value: f(a); an eigenvalue of exactly 0 stands for "no variance at all".
        derivative: f'(a); at 0 it is 0 where it would be infinite: nothing of such a direction
            reaches the features, see `covtool.ops.spectral`.
        divided_difference: (f(a) - f(b)) / (a - b) for a >= b >= 0, and f'(a) where a = b.
        is_square_root: Whether f is the square root.
    """

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    divided_difference: Callable[[Tensor, Tensor], Tensor]
    is_square_root: bool = False


def power(alpha: float = 0.5) -> SpectralFunction:
    """a**alpha: 0.5 for the square root of MPN-COV.

    Raises:
        ArgumentError: `alpha` is not in (0, 1].

    Source:
        Li, Xie, Wang, Zuo. "Is Second-order Information Helpful for Large-scale Visual
        Recognition?", ICCV 2017.
    """
    if not 0 < alpha <= 1:
        raise ArgumentError(
            f"The power must be in (0, 1], but it is {alpha:g}.",
            hint="0.5 is the square root, 1 the covariance itself.",
        )
    return SpectralFunction(
        value=partial(_power, exponent=alpha),
        derivative=lambda a: alpha * _power(a, alpha - 1),
        divided_difference=partial(_power_difference, alpha=alpha),
        is_square_root=alpha == 0.5,
    )


def logarithm(eps: float = 1e-3) -> SpectralFunction:
    """log(a + eps), the log-Euclidean map of a regularized covariance.

    Raises:
        ArgumentError: `eps` is not positive.

    Source:
        Ionescu, Vantzos, Sminchisescu. "Matrix Backpropagation for Deep Networks with Structured
        Layers", ICCV 2015; Arsigny et al., SIAM J. Matrix Anal. Appl. 2007.
    """
    if not eps > 0:
        raise ArgumentError(f"eps must be positive, but it is {eps:g}.")
    return SpectralFunction(
        value=lambda a: (a + eps).log(),
        derivative=lambda a: 1 / (a + eps),
        divided_difference=partial(_log_difference, eps=eps),
    )


def _power(a: Tensor, exponent: float) -> Tensor:
    """a**exponent, and 0 at 0 for every exponent but 0."""
    if exponent == 0:
        return torch.ones_like(a)
    zero = a == 0  # not "a > 0": a NaN must stay NaN
    # A zero has no finite slope for a power below 1; it gets 0, and 1 stands in for it.
    safe = torch.where(zero, torch.ones_like(a), a)
    root = safe.sqrt() if exponent == 0.5 else safe.pow(exponent)
    return torch.where(zero, torch.zeros_like(a), root)


def _power_difference(a: Tensor, b: Tensor, *, alpha: float) -> Tensor:
    """a**(alpha - 1) * (1 - r**alpha) / (1 - r) with r = b / a, and 0 at a = b = 0."""
    if alpha == 0.5:
        # 1 / (sqrt a + sqrt b): no difference of the eigenvalues at all (Daleckii, Krein).
        total = a.sqrt() + b.sqrt()
        return torch.where(total > 0, 1 / torch.where(total > 0, total, 1), 0)
    gap, larger = _relative_gap(a, b)
    # 1 - (1 - gap)^alpha over gap, by expm1 and log1p: exact for gaps near 0.
    quotient = -torch.expm1(alpha * torch.log1p(-gap)) / torch.where(gap > 0, gap, 1)
    return _power(larger, alpha - 1) * torch.where(gap > 0, quotient, alpha) * (a > 0)


def _log_difference(a: Tensor, b: Tensor, *, eps: float) -> Tensor:
    gap, larger = _relative_gap(a + eps, b + eps)
    quotient = -torch.log1p(-gap) / torch.where(gap > 0, gap, 1)
    return torch.where(gap > 0, quotient, 1) / larger


def _relative_gap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(a - b) / a, and a; with 1 in place of an a of 0."""
    larger = torch.where(a > 0, a, torch.ones_like(a))
    return (a - b) / larger, larger
