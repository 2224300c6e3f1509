"""The dual: ridge regression by the n x n Gram matrix of the features.

Nothing but inner products of rows is needed, so the sum of two Gram matrices is the regression on
both features side by side.
"""

from torch import Tensor

from covtool.errors import NonFiniteError, ShapeError
from covtool.ops.ridge.choice import Loss, check_rows, squared_error
from covtool.ops.ridge.dual_cholesky import fit_by_cholesky
from covtool.ops.ridge.dual_eigen import fit_by_eigen
from covtool.ops.ridge.result import GramFit

LARGEST_EIGEN = 4096
"""Rows up to which the dual is solved by an eigendecomposition.

It gives the loss of every penalty; at twice as many rows, it takes twice the time of the Cholesky
factorizations that a search needs, and six times the memory (`benchmarks/ridge.py`).
"""

_ROUNDING = 1e-14  # of the squared lengths: what is left of equal rows after centering


def fit_ridge_gram(gram: Tensor, targets: Tensor, *, loss: Loss = squared_error) -> GramFit:
    """Fit `targets` by the features that have a Gram matrix, with the best penalty.

    Up to `LARGEST_EIGEN` rows every penalty is tried; beyond, they are searched, see
    `covtool.ops.ridge.dual_cholesky`. Takes one more matrix of n x n numbers in float64.

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
    fit = fit_centered_gram_(center_gram(products), targets, loss=loss)
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
    """
    gram = gram.double()
    means = gram.mean(dim=0)
    centered = gram - means
    centered -= means[:, None]
    centered += means.mean()
    squares = gram.diagonal().sum()
    if centered.diagonal().sum() <= _ROUNDING * len(gram) * squares:
        return centered.zero_()
    return centered


def fit_centered_gram_(gram: Tensor, targets: Tensor, *, loss: Loss) -> GramFit:
    """Fit as `fit_ridge_gram` does, by products of features that are centered.

    Args:
        gram: Shape (n, n), float64; used up: beyond `LARGEST_EIGEN` rows, its memory is that of
            the factors.
        targets: Shape (n, K), of any dtype.
        loss: Loss of the left-out predictions.
    """
    check_rows(len(gram))
    if not gram.diagonal().sum().isfinite():
        raise NonFiniteError("The features, or their inner products, are not finite.")
    fit = fit_by_eigen if len(gram) <= LARGEST_EIGEN else fit_by_cholesky
    return fit(gram, targets, loss)
