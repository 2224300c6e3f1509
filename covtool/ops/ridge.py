"""Ridge regression in closed form, with the penalty chosen by leave-one-out.

Leave-one-out needs no second fit: with the hat matrix H of the fit, the error that an image would
have if it were left out is its own error divided by 1 - H_ii. The intercept is not penalized: it
is handled by centering. The centered Gram matrix has the constant vector in its kernel, and that
direction is taken out before the eigendecomposition: left in, its eigenvalue is zero only up to
rounding, H_ii comes out as 1 for a small penalty, and leave-one-out reports a perfect score.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives features (b, d) and targets (b, K), batch by batch; the same ones at each call."""

PENALTIES = tuple(10.0 ** (exponent / 4) for exponent in range(-20, 9))
"""Tried penalties, in units of the mean squared length of a centered feature vector."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps predictions and targets, (b, K) each, to one number that adds up over rows."""


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Sum of the squared differences."""
    return (predictions - targets).square().sum()


def mistakes(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the number of rows whose largest prediction is not at their largest target.

    Equal counts are ordered by the squared error, which adds less than one in all.
    """
    wrong = (predictions.argmax(dim=1) != targets.argmax(dim=1)).sum()
    return wrong + 1e-9 * squared_error(predictions, targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeFit:
    """A linear model, ``features @ weight.T + bias``.

    Attributes:
        weight: Shape (K, d), float64.
        bias: Shape (K,), float64.
        penalty: The chosen λ, in the units of the squared features.
        left_out: Prediction for each row if it had been left out, shape (n, K).
        side: ``rows`` where an n x n system was solved (the dual), ``features`` for d x d.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    left_out: Tensor
    side: str


def fit_ridge(features: Tensor, targets: Tensor, *, loss: Loss = squared_error) -> RidgeFit:
    """Fit `targets` by `features` and an intercept, with the best penalty under leave-one-out.

    Solves an n x n system where there are fewer rows than features (the dual), a d x d one
    otherwise. Everything but the features themselves is in float64.

    Args:
        features: Shape (n, d); not modified.
        targets: Shape (n, K), for example one-hot classes.
        loss: Loss of the left-out predictions; the penalty with the smallest is taken.

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
    if features.shape[1] < len(features):
        blocks = features.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE)
        return fit_ridge_by_batches(lambda: zip(*blocks, strict=True), loss=loss)
    return _fit_dual(features, targets.double(), loss)


def fit_ridge_by_batches(batches: Batches, *, loss: Loss = squared_error) -> RidgeFit:
    """Fit as `fit_ridge` does, from batches of rows: memory for d x d numbers, not n x d.

    Args:
        batches: Called three times: for the moments, for the losses of all penalties, and for
            the left-out predictions of the best.
        loss: Loss of the left-out predictions, see `fit_ridge`.

    Raises:
        ArgumentError: As `fit_ridge`.
    """
    moments = _Moments.of(batches())
    fit = _Primal.of(moments)
    losses = dict.fromkeys(_penalties(moments.scatter.diagonal().sum().item(), moments.rows), 0.0)
    for features, targets in batches():
        projected = fit.project(features)
        for penalty in losses:
            left_out = fit.left_out(projected, targets.double(), penalty)
            losses[penalty] += loss(left_out, targets).item()
    # The first of equals is the smallest penalty: `PENALTIES` ascend.
    best = min(losses, key=losses.__getitem__)
    weight = fit.weight(best)
    return RidgeFit(
        weight=weight,
        bias=moments.target_mean - weight @ moments.mean,
        penalty=best,
        left_out=torch.cat([fit.left_out(fit.project(f), t.double(), best) for f, t in batches()]),
        side="features",
    )


_SMALLEST_LEFT = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Means, centered scatter (d, d) and centered cross moments (d, K), in float64."""

    rows: int
    mean: Tensor
    target_mean: Tensor
    scatter: Tensor
    cross: Tensor

    @classmethod
    def of(cls, batches: Iterable[tuple[Tensor, Tensor]]) -> "_Moments":
        rows = 0
        shift: Tensor | None = None
        for raw, raw_targets in batches:
            features, targets = raw.double(), raw_targets.double()
            if shift is None:  # centered roughly from the start: no cancellation at the end
                shift = features.mean(dim=0)
                size, classes = features.shape[1], targets.shape[1]
                total, target_total = features.new_zeros(size), features.new_zeros(classes)
                scatter, cross = features.new_zeros(size, size), features.new_zeros(size, classes)
            features = features - shift
            rows += len(features)
            total += features.sum(dim=0)
            target_total += targets.sum(dim=0)
            scatter += features.mT @ features
            cross += features.mT @ targets
        _check_rows(rows)
        assert shift is not None  # there are rows
        offset = total / rows
        return cls(
            rows=rows,
            mean=shift + offset,
            target_mean=target_total / rows,
            # The shift was that of the first batch: what it is off the mean is corrected here.
            scatter=scatter - rows * torch.outer(offset, offset),
            cross=cross - torch.outer(offset, target_total),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Primal:
    """The d x d side: eigenpairs of the scatter, correlations of its directions with targets."""

    moments: _Moments
    eigenvalues: Tensor
    vectors: Tensor
    correlations: Tensor

    @classmethod
    def of(cls, moments: _Moments) -> "_Primal":
        eigenvalues, vectors = torch.linalg.eigh(moments.scatter)
        return cls(
            moments=moments,
            # Of a positive semi-definite matrix: what is negative is rounding.
            eigenvalues=eigenvalues.clamp_min(0),
            vectors=vectors,
            correlations=vectors.mT @ moments.cross,
        )

    def project(self, features: Tensor) -> Tensor:
        return (features.double() - self.moments.mean) @ self.vectors

    def left_out(self, projected: Tensor, targets: Tensor, penalty: float) -> Tensor:
        shrunk = projected / (self.eigenvalues + penalty)
        residual = targets - self.moments.target_mean - shrunk @ self.correlations
        # H_ii with the intercept's part, 1/n: it is not penalized.
        leverage = (shrunk * projected).sum(dim=1) + 1 / self.moments.rows
        return targets - residual / (1 - leverage).clamp_min(_SMALLEST_LEFT)[:, None]

    def weight(self, penalty: float) -> Tensor:
        return (self.vectors @ (self.correlations / (self.eigenvalues + penalty)[:, None])).mT


def _fit_dual(features: Tensor, targets: Tensor, loss: Loss) -> RidgeFit:
    rows = len(features)
    _check_rows(rows)
    mean = features.mean(dim=0, dtype=torch.float64)
    target_mean = targets.mean(dim=0)
    centered_targets = targets - target_mean
    eigenvalues, vectors = _eigen_without_constant(_gram(features, mean))
    projected = vectors.mT @ centered_targets
    penalties = _penalties(eigenvalues.sum().item(), rows)

    def left_out(penalty: float) -> Tensor:
        kept = penalty / (eigenvalues + penalty)
        # 1 - H_ii, without a difference: the constant direction is not among the vectors.
        unexplained = (vectors.square() @ kept).clamp_min(_SMALLEST_LEFT)
        return targets - (vectors @ (kept[:, None] * projected)) / unexplained[:, None]

    penalty = min(penalties, key=lambda p: loss(left_out(p), targets).item())
    coefficients = vectors @ (projected / (eigenvalues + penalty)[:, None])  # (n, K), sums to 0
    weight = _times_rows(coefficients.mT, features)
    return RidgeFit(
        weight=weight,
        bias=target_mean - weight @ mean,
        penalty=penalty,
        left_out=left_out(penalty),
        side="rows",
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


_ROWS_AT_ONCE = _COLUMNS_AT_ONCE = 4096  # in float64; all features at once would take twice theirs


def _gram(features: Tensor, mean: Tensor) -> Tensor:
    """Gram matrix (n, n) of the centered rows, summed in float64 over blocks of columns."""
    gram = torch.zeros(len(features), len(features), dtype=torch.float64, device=features.device)
    for start in range(0, features.shape[1], _COLUMNS_AT_ONCE):
        columns = slice(start, start + _COLUMNS_AT_ONCE)
        block = features[:, columns].double() - mean[columns]
        gram.addmm_(block, block.mT)
    return gram


def _times_rows(coefficients: Tensor, features: Tensor) -> Tensor:
    """``coefficients @ features`` in float64, without a float64 copy of all features."""
    starts = range(0, features.shape[1], _COLUMNS_AT_ONCE)
    blocks = (features[:, s : s + _COLUMNS_AT_ONCE].double() for s in starts)
    return torch.cat([coefficients @ block for block in blocks], dim=1)


def _penalties(total: float, rows: int) -> list[float]:
    if not total > 0:
        raise ArgumentError(
            "All feature vectors are equal: no classes can be separated by them.",
            hint="Is the input size right, and does the tapped map have more than one position?",
        )
    return [penalty * total / rows for penalty in PENALTIES]


def _check_rows(rows: int) -> None:
    if rows < 3:
        raise ArgumentError(f"A ridge regression needs at least 3 rows, but there are {rows}.")
