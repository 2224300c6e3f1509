"""Published rules for the gradient of eigenvectors when eigenvalues lie close together.

For dA, the eigenvector v_j changes by the sum over i of K[i, j] (v_i' dA v_j) v_i, where K[i, j] is
1 / (a_j - a_i): infinite where eigenvalues meet. Each rule puts something else in its place. The
matrix function f(A) = sum of f(a_j) v_j v_j' then has, between the directions i and j, the slope

    L[i, j] = f(a_j) K[i, j] + f(a_i) K[j, i],

which is the divided difference (f(a_i) - f(a_j)) / (a_i - a_j) for the true K. `slopes` gives L;
the rule ``exact`` takes the divided difference itself, in which no difference of eigenvalues is
left, and so needs no remedy.

Rules take eigenvalues (B, r), nonnegative and in descending order, and an order (a degree or a
count), and give K (B, r, r) with a zero diagonal. Two eigenvalues of 0 give 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ArgumentError
from covtool.ops.spectral_functions import SpectralFunction
from covtool.registry import Registry

EigenGradientRule = Callable[[Tensor, int], Tensor]

TRUNCATION = 1e10


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientRule:
    """A way to differentiate a function of the eigenvalues and eigenvectors.

    Attributes:
        name: Value of `--gradient`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        weights: Function from eigenvalues to K; None where the slopes need no K.
        order: The published degree, count or number of steps; None where there is none to choose.
        smallest_order: Smallest order that makes sense.
    """

    name: str
    summary: str
    source: str
    weights: EigenGradientRule | None = None
    order: int | None = None
    smallest_order: int = 1

    def checked_order(self, order: int | None) -> int:
        """Return `order`, or the published one for None.

        Raises:
            ArgumentError: The rule takes no order, or needs a larger one.
        """
        if order is None:
            return self.order or 0
        if self.order is None:
            raise ArgumentError(f"The gradient rule {self.name!r} has no order to choose.")
        if order < self.smallest_order:
            raise ArgumentError(
                f"The gradient rule {self.name!r} needs an order of at least "
                f"{self.smallest_order}, not {order}.",
                hint=f"The published one is {self.order}.",
            )
        return order


def svd(eigenvalues: Tensor, order: int = 0) -> Tensor:
    """1 / (a_j - a_i), and 0 between equal eigenvalues: the ordinary rule; `order` is not used.

    Source:
        Ionescu, Vantzos, Sminchisescu. "Matrix Backpropagation for Deep Networks with Structured
        Layers", ICCV 2015.
    """
    gaps = eigenvalues[..., None, :] - eigenvalues[..., :, None]
    # A tie gets the weight 0, not an infinite one.
    return torch.where(gaps != 0, 1 / torch.where(gaps != 0, gaps, 1), 0)


def truncated(eigenvalues: Tensor, order: int = 0) -> Tensor:
    """Return the ordinary rule, cut off at plus and minus 1e10; `order` is not used.

    Source:
        Song, Sebe, Wang. "Why Approximate Matrix Square Root Outperforms Accurate SVD in Global
        Covariance Pooling?", ICCV 2021.
    """
    return svd(eigenvalues).clamp(-TRUNCATION, TRUNCATION)


def top_n(eigenvalues: Tensor, order: int = 206) -> Tensor:
    """Apply the ordinary rule among the `order` largest eigenvalues; 0 for all other pairs.

    The published code hard-codes all but the last 50, which is 206 for its 256 channels, and also
    cuts the others off in the forward pass; here the root stays the root.

    Source:
        As `truncated`.
    """
    kept = torch.arange(eigenvalues.shape[-1], device=eigenvalues.device) < order
    return torch.where(kept[:, None] & kept, svd(eigenvalues), 0)


def taylor(eigenvalues: Tensor, order: int = 100) -> Tensor:
    """1 / (a - b) = (1 + b/a + (b/a)**2 + ...) / a for a > b, cut after the power `order`.

    Never larger than (order + 1) / a.

    Source:
        As `truncated`.
    """
    larger, ratio = _larger_and_ratio(eigenvalues)
    return _antisymmetric(_geometric_series(ratio, order) / larger, eigenvalues)


def pade(eigenvalues: Tensor, order: int = 100) -> Tensor:
    """1 / (a - b) with the diagonal Padé approximant of 1 / (1 - b/a); degrees of `order` / 2 each.

    The approximant of a geometric series with any denominator is the function itself: apart from
    rounding this is the ordinary rule, as the published coefficients are. Only near a tie, where
    the published fraction is a quotient of rounding errors, is something chosen: b/a is taken as
    1 - eps at most, so that K stays below 1 / (eps a).

    Source:
        As `truncated`, where the degrees are [50/50].
    """
    larger, ratio = _larger_and_ratio(eigenvalues)
    # At a ratio of 1 the series has its pole; one step below, the fraction is large and finite.
    ratio = ratio.clamp_max(1 - torch.finfo(ratio.dtype).eps)
    numerator, denominator = geometric_pade_coefficients(order // 2)
    quotient = _polynomial(numerator, ratio) / _polynomial(denominator, ratio)
    return _antisymmetric(quotient / larger, eigenvalues)


def power_iteration(eigenvalues: Tensor, order: int = 19) -> Tensor:
    """Differentiate `order` power iterations with deflation, from the eigenvectors on.

    Towards smaller eigenvalues b < a it is the geometric series of `taylor` with `order` terms;
    towards larger ones, which were deflated, the same with one term less, and the first one comes
    through the deflation. The published code of the comparison passes no gradient: it projects on
    the complement of all eigenvectors at once, where nothing is left.

    Source:
        Wang, Dang, Hu, Fua, Salzmann. "Backpropagation-Friendly Eigendecomposition", NeurIPS 2019.
    """
    larger, ratio = _larger_and_ratio(eigenvalues)
    to_smaller = _geometric_series(ratio, order - 1) / larger
    # Deflation has taken the larger directions out once: one term less.
    to_larger = _geometric_series(ratio, order - 2) / larger
    below = torch.ones_like(ratio, dtype=torch.bool).tril(-1)  # a_i <= a_j there
    above = below.mT
    return torch.where(below, to_smaller, torch.where(above, -to_larger, 0)) * _not_both_zero(
        eigenvalues
    )


def slopes(
    eigenvalues: Tensor,
    function: SpectralFunction,
    weights: EigenGradientRule | None,
    order: int = 0,
) -> Tensor:
    """Return L of a matrix function, shape (B, r, r), symmetric; its diagonal is f'.

    Args:
        eigenvalues: Shape (B, r), nonnegative, descending.
        function: Function of the eigenvalues.
        weights: Function that gives K; None for the divided differences themselves (``exact``).
        order: Order that `weights` takes.
    """
    rows, columns = eigenvalues[..., :, None], eigenvalues[..., None, :]
    if weights is None:
        larger, smaller = torch.maximum(rows, columns), torch.minimum(rows, columns)
        # (f(a) - f(b)) / (a - b) in a form without cancellation, which is exact at a tie as well.
        between = function.divided_difference(larger, smaller)
    else:
        # The published rules replace 1/(a - b) alone: f(b) K_ab + f(a) K_ba is the difference.
        half = function.value(columns) * weights(eigenvalues, order)
        between = half + half.mT
    # The limit for a = b: the derivative itself.
    diagonal = torch.eye(eigenvalues.shape[-1], dtype=torch.bool, device=eigenvalues.device)
    return torch.where(diagonal, function.derivative(eigenvalues)[..., None], between)


def geometric_pade_coefficients(degree: int) -> tuple[list[float], list[float]]:
    """Return the coefficients of the [degree/degree] Padé approximant of 1 + x + x**2 + ...

    The equations for the denominator are all the same, q_1 + ... + q_n = -1; of their solutions
    this is the one of smallest norm. Numerator, then denominator; constant terms first.
    """
    denominator = [1.0] + [-1 / degree] * degree
    numerator = [1 - k / degree for k in range(degree + 1)]
    return numerator, denominator


def _larger_and_ratio(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    """Return the larger of each pair (1 for two zeros), and the smaller over it, (B, r, r)."""
    rows, columns = eigenvalues[..., :, None], eigenvalues[..., None, :]
    larger = torch.maximum(rows, columns)
    # Two zeros: any number is fine, as the pair gets a weight of 0.
    larger = torch.where(larger > 0, larger, torch.ones_like(larger))
    return larger, torch.minimum(rows, columns) / larger


def _geometric_series(ratio: Tensor, degree: int) -> Tensor:
    return _polynomial([1.0] * (degree + 1), ratio)


def _polynomial(coefficients: list[float], x: Tensor) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = coefficient + x * total  # Horner
    return total


def _antisymmetric(magnitudes: Tensor, eigenvalues: Tensor) -> Tensor:
    """Plus below the diagonal, where v_j has the larger eigenvalue; minus above."""
    # Eigenvalues descend: below the diagonal the row's one is the smaller.
    lower = magnitudes.tril(-1)
    return (lower - lower.mT) * _not_both_zero(eigenvalues)


def _not_both_zero(eigenvalues: Tensor) -> Tensor:
    return (eigenvalues[..., :, None] + eigenvalues[..., None, :]) > 0


NEWTON_SCHULZ = "newton-schulz"
_SONG_2021 = "Song, Sebe, Wang, ICCV 2021"

GRADIENTS = Registry(
    "gradient rule",
    [
        GradientRule(
            name="exact",
            summary="Divided differences of the function itself: exact, harmless at ties.",
            source="Daleckii, Krein 1965; Bhatia, Matrix Analysis, theorem V.3.3",
        ),
        GradientRule(
            name="svd",
            summary="1/(a - b): exact, and lost between close eigenvalues.",
            source="Ionescu, Vantzos, Sminchisescu, ICCV 2015",
            weights=svd,
        ),
        GradientRule(
            name="truncated",
            summary="1/(a - b), cut off at 1e10.",
            source=_SONG_2021,
            weights=truncated,
        ),
        GradientRule(
            name="top-n",
            summary="1/(a - b) among the n largest eigenvalues only.",
            source=_SONG_2021,
            weights=top_n,
            order=206,
        ),
        GradientRule(
            name="taylor",
            summary="1/(a - b) by its geometric series.",
            source=_SONG_2021,
            weights=taylor,
            order=100,
        ),
        GradientRule(
            name="pade",
            summary="1/(a - b) by the diagonal Padé approximant of that series.",
            source=_SONG_2021,
            weights=pade,
            order=100,
            smallest_order=2,
        ),
        GradientRule(
            name="power-iteration",
            summary="The gradient of power iterations with deflation.",
            source="Wang et al., NeurIPS 2019",
            weights=power_iteration,
            order=19,
            smallest_order=2,
        ),
        GradientRule(
            name=NEWTON_SCHULZ,
            summary="The gradient of Newton-Schulz iterations under the exact root.",
            source=_SONG_2021,
            order=5,
        ),
    ],
)
