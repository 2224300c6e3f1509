"""The dual: ridge regression by the n x n Gram matrix of the features.

Nothing but inner products of rows is needed, so the sum of two Gram matrices is the regression on
both features side by side. The centered Gram matrix has the constant vector in its kernel, and
that direction is taken out before the eigendecomposition: left in, its eigenvalue is zero only up
to rounding, H_ii comes out as 1 for a small penalty, and leave-one-out reports a perfect score.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import NonFiniteError, ShapeError
from covtool.ops.ridge.choice import (
    SMALLEST_LEFT,
    Loss,
    check_rows,
    scaled_penalties,
    squared_error,
)

_ROUNDING = 1e-14  # of the squared lengths: what is left of equal rows after centering


@dataclass(frozen=True, slots=True, kw_only=True)
class GramFit:
    """A linear model of inner products with the n rows, ``products @ coefficients + bias``.

    ``coefficients.mT @ features`` is the weight (K, d) for features that are at hand.

    Attributes:
        coefficients: Shape (n, K), float64; each column adds up to zero.
        bias: Shape (K,), for inner products (m, n) of the kind that the Gram matrix has.
        target_mean: Shape (K,): the bias for products of features that are centered.
        penalty: The chosen λ, in the units of the Gram matrix.
        left_out: Prediction for each row if it had been left out, shape (n, K).
    """

    coefficients: Tensor
    bias: Tensor
    target_mean: Tensor
    penalty: float
    left_out: Tensor


def fit_ridge_gram(gram: Tensor, targets: Tensor, *, loss: Loss = squared_error) -> GramFit:
    """Fit `targets` by the features that have a Gram matrix, with the best penalty.

    Args:
        gram: Inner products of the n rows, shape (n, n), symmetric; not modified. Features need
            not be centered: the products are, in float64. A mean that is much longer than what
            features differ by costs digits, twice as many as its length has more; centered
            features keep them.
        targets: Shape (n, K), for example one-hot classes.
        loss: Loss of the left-out predictions; the penalty with the smallest is taken.

    Raises:
        ShapeError: The shapes are not (n, n) and (n, K).
        NonFiniteError: A product is not finite.
        ArgumentError: There are fewer than three rows, or all are equal.

    Source:
        Saunders, Gammerman, Vovk. "Ridge Regression Learning Algorithm in Dual Variables", ICML
        1998; for sources of leave-one-out see `fit_ridge`.

    Example:
        >>> import torch
        >>> rows = torch.arange(12.0).reshape(4, 3).square()
        >>> fit = fit_ridge_gram(rows @ rows.mT, torch.eye(2).repeat(2, 1))
        >>> fit.coefficients.shape, fit.bias.shape
        (torch.Size([4, 2]), torch.Size([2]))
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise ShapeError.expected("gram", "(n, n)", gram)
    if targets.ndim != 2 or len(targets) != len(gram):
        raise ShapeError.expected("targets", f"({len(gram)}, K)", targets)
    check_rows(len(gram))
    products = gram.double()
    means = products.mean(dim=0)
    fit = fit_centered_gram(center_gram(products), targets.double(), loss=loss)
    return GramFit(
        coefficients=fit.coefficients,
        bias=fit.target_mean - means @ fit.coefficients,
        target_mean=fit.target_mean,
        penalty=fit.penalty,
        left_out=fit.left_out,
    )


def center_gram(gram: Tensor) -> Tensor:
    """Return the Gram matrix of the centered features, float64: ``G - row - column + mean``.

    Features that are equal up to rounding give exactly zero.

    Raises:
        NonFiniteError: A product is not finite.
    """
    gram = gram.double()
    means = gram.mean(dim=0)
    mean = means.mean()
    if not mean.isfinite():
        raise NonFiniteError("The Gram matrix of the features is not finite.")
    centered = gram - means
    centered -= means[:, None]
    centered += mean
    squares = gram.diagonal().sum()
    if centered.diagonal().sum() <= _ROUNDING * len(gram) * squares:
        return centered.zero_()
    return centered


def fit_centered_gram(gram: Tensor, targets: Tensor, *, loss: Loss) -> GramFit:
    """Fit as `fit_ridge_gram` does, by products of features that are centered.

    Args:
        gram: Shape (n, n), float64.
        targets: Shape (n, K), float64.
        loss: Loss of the left-out predictions.
    """
    rows = len(gram)
    check_rows(rows)
    target_mean = targets.mean(dim=0)
    centered_targets = targets - target_mean
    eigenvalues, vectors = _eigen_without_constant(gram)
    projected = vectors.mT @ centered_targets
    penalties = scaled_penalties(eigenvalues.sum().item(), rows)

    def left_out(penalty: float) -> Tensor:
        kept = penalty / (eigenvalues + penalty)
        # 1 - H_ii, without a difference: the constant direction is not among the vectors.
        unexplained = (vectors.square() @ kept).clamp_min(SMALLEST_LEFT)
        return targets - (vectors @ (kept[:, None] * projected)) / unexplained[:, None]

    penalty = min(penalties, key=lambda p: loss(left_out(p), targets).item())
    return GramFit(
        coefficients=vectors @ (projected / (eigenvalues + penalty)[:, None]),
        bias=target_mean,
        target_mean=target_mean,
        penalty=penalty,
        left_out=left_out(penalty),
    )


def _eigen_without_constant(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenpairs of a centered Gram matrix in the n-1 directions that are not constant.

    A Householder reflection maps the constant vector to the first axis; what is left is the
    lower right block, whose eigenvectors the reflection takes back.
    """
    rows = len(gram)
    # The Householder reflection that takes the constant direction to the first axis, which is
    # then cut off: the eigenvalues of the rest have no rounding of a zero among them.
    normal = torch.full((rows,), rows**-0.5, dtype=gram.dtype, device=gram.device)
    normal[0] += 1
    normal = normal / normal.norm()

    def reflect(matrix: Tensor) -> Tensor:
        return matrix - 2 * torch.outer(normal, normal @ matrix)

    # Both sides, and symmetric again: `eigh` reads one triangle only.
    rotated = reflect(reflect(gram).mT)[1:, 1:]
    eigenvalues, inner = torch.linalg.eigh((rotated + rotated.mT) / 2)
    padded = torch.cat([torch.zeros_like(inner[:1]), inner])
    return eigenvalues.clamp_min(0), reflect(padded)
