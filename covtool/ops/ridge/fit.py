"""Ridge regression of features that are at hand, by whichever system is smaller."""

from torch import Tensor

from covtool.errors import ShapeError
from covtool.ops.ridge.choice import Loss, check_rows, squared_error
from covtool.ops.ridge.dual import fit_centered_gram_
from covtool.ops.ridge.gram import centered_gram, column_means, times_rows
from covtool.ops.ridge.primal import fit_ridge_by_batches
from covtool.ops.ridge.result import RidgeFit, Side


def fit_ridge(
    features: Tensor,
    targets: Tensor,
    *,
    loss: Loss = squared_error,
    side: Side | None = None,
) -> RidgeFit:
    """Fit `targets` by `features` and an intercept, with the best penalty under leave-one-out.

    Everything but the features themselves is in float64.

    Args:
        features: Shape (n, d); not modified.
        targets: Shape (n, K), for example one-hot classes; of any dtype.
        loss: Loss of the left-out predictions; the penalty with the smallest is taken.
        side: The system to solve; None for the n x n one (the dual) where there are no more rows
            than features, the d x d one (the primal) otherwise.

    Raises:
        ShapeError: The shapes are not (n, d) and (n, K).
        ArgumentError: There are fewer than three rows, or all rows are equal.

    Source:
        Hastie, Tibshirani, Friedman. "The Elements of Statistical Learning", sections 3.4 and
        7.10; Allen, Technometrics 1974, for leave-one-out from one fit.
    """
    if features.ndim != 2:
        raise ShapeError.expected("features", "(n, d)", features)
    if targets.ndim != 2 or len(targets) != len(features):
        raise ShapeError.expected("targets", f"({len(features)}, K)", targets)
    if side is None:
        side = "features" if features.shape[1] < len(features) else "rows"
    if side == "features":
        return fit_ridge_by_batches(lambda: [(features, targets)], loss=loss)
    return _fit_dual(features, targets, loss)


def _fit_dual(features: Tensor, targets: Tensor, loss: Loss) -> RidgeFit:
    check_rows(len(features))
    mean = column_means(features)
    fit = fit_centered_gram_(centered_gram(features, mean), targets, loss=loss)
    weight = times_rows(fit.coefficients.mT, features)
    return RidgeFit(
        weight=weight,
        bias=fit.target_mean - weight @ mean,
        penalty=fit.penalty,
        left_out=fit.left_out,
        every=1,
        answers=fit.left_out.argmax(dim=1),
        side="rows",
    )
