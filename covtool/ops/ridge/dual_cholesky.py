"""The dual by Cholesky factorizations, one for each penalty that is tried, within one matrix.

With M the centered Gram matrix plus λ I, the coefficients are a = M⁻¹ y, and the error of a row
that is left out is a_i / (M⁻¹)_ii. The intercept's part: the constant vector is in the kernel of
the centered matrix, up to rounding, and would count as 1 / (n λ) in each (M⁻¹)_ii, far more than
all others for a small λ. It is given the mean of the other eigenvalues, μ, in place of zero, and
its part of the inverse, 1 / (n (λ + μ)), is taken off: a difference that loses no digits.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from covtool.errors import ArgumentError
from covtool.ops.cholesky import ShiftedCholesky
from covtool.ops.ridge.choice import SMALLEST_LEFT, Loss, lowest_nearby, scaled_penalties
from covtool.ops.ridge.dual_eigen import fit_by_eigen
from covtool.ops.ridge.result import GramFit

_ROWS_OF_START = 2048  # an eigendecomposition of so few takes seconds
_AT_ONCE = 1 << 21  # numbers of targets or predictions: 16 MiB


def fit_by_cholesky(gram: Tensor, targets: Tensor, loss: Loss) -> GramFit:
    """Fit by products of centered features, (n, n) in float64, which are used up.

    The search for the penalty begins at the best one for about two thousand rows and goes downhill
    from there: see `lowest_nearby`.

    Args:
        gram: Shape (n, n).
        targets: Shape (n, K), of any dtype: they are converted a part at a time.
        loss: Loss of the left-out predictions.
    """
    start = _penalty_of_part(gram, targets, loss)
    search = _Search(gram, targets, loss)
    nearest = min(search.penalties, key=lambda penalty: abs(penalty - start))
    place = search.penalties.index(nearest)
    lowest_nearby(search.loss_at, len(search.penalties), start=place)
    return search.best()


def _penalty_of_part(gram: Tensor, targets: Tensor, loss: Loss) -> float:
    """Return the best penalty for some rows, drawn at random; zero if these are all equal."""
    generator = torch.Generator("cpu").manual_seed(0)  # as on every device
    chosen = torch.randperm(len(gram), generator=generator)[:_ROWS_OF_START].to(gram.device)
    try:
        # Not centered on these rows, but the constant direction is taken out all the same.
        return fit_by_eigen(gram[chosen[:, None], chosen], targets[chosen], loss).penalty
    except ArgumentError:
        return 0.0


class _Search:
    """Fits for one penalty after another; the best so far is kept."""

    def __init__(self, gram: Tensor, targets: Tensor, loss: Loss) -> None:
        self.targets, self.loss = targets, loss
        self.rows = len(gram)
        total = gram.diagonal().sum().item()
        self.penalties = scaled_penalties(total, self.rows)
        self.constant = total / (self.rows - 1)
        self.target_mean = torch.cat(
            [targets[:, part].mean(dim=0, dtype=torch.float64) for part in self._columns()]
        )
        self.system = ShiftedCholesky(gram.add_(self.constant / self.rows))
        self.lowest: tuple[float, float] | None = None

    def loss_at(self, place: int) -> float:
        penalty = self.penalties[place]
        factor = self.system.inverse_factor(penalty)
        coefficients = self.target_mean.new_empty(self.targets.shape)
        for part in self._columns():
            centered = self.targets[:, part].double() - self.target_mean[part]
            coefficients[:, part] = factor.solve(centered)
        inverse = factor.inverse_diagonal() - 1 / (self.rows * (penalty + self.constant))
        inverse.clamp_min_(SMALLEST_LEFT / penalty)
        loss = 0.0
        for part in self._row_blocks():
            targets = self.targets[part].double()
            left_out = targets - coefficients[part] / inverse[part, None]
            loss += self.loss(left_out, targets).item()
        if self.lowest is None or (loss, penalty) < self.lowest:
            self.lowest = loss, penalty
            self.coefficients, self.inverse = coefficients, inverse
        return loss

    def best(self) -> GramFit:
        assert self.lowest is not None  # at least the start was tried
        left_out = self.coefficients / self.inverse[:, None]
        for part in self._row_blocks():
            left_out[part] = self.targets[part].double() - left_out[part]
        return GramFit(
            coefficients=self.coefficients,
            bias=self.target_mean,
            target_mean=self.target_mean,
            penalty=self.lowest[1],
            left_out=left_out,
        )

    def _columns(self) -> Iterator[slice]:
        return _parts(self.targets.shape[1], _AT_ONCE // self.rows)

    def _row_blocks(self) -> Iterator[slice]:
        return _parts(self.rows, _AT_ONCE // self.targets.shape[1])


def _parts(size: int, step: int) -> Iterator[slice]:
    step = max(step, 1)
    return (slice(start, start + step) for start in range(0, size, step))
