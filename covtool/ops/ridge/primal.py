"""The primal: ridge regression by the d x d scatter matrix, from batches of rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from covtool.ops.parts import by_rows
from covtool.ops.ridge.choice import (
    SMALLEST_LEFT,
    Loss,
    check_rows,
    scaled_penalties,
    squared_error,
)
from covtool.ops.ridge.result import RidgeFit
from covtool.ops.temperature import MOST_LOGITS

Batch = tuple[Tensor, Tensor]
Batches = Callable[[], Iterable[Batch]]
"""Gives features (b, d) and targets (b, K), batch by batch; the same ones at each call."""


def fit_ridge_by_batches(batches: Batches, *, loss: Loss = squared_error) -> RidgeFit:
    """Fit as `fit_ridge` does, from batches of rows: memory for d x d numbers, not n x d.

    Where all predictions are more than `covtool.ops.temperature.MOST_LOGITS`, every so many rows
    judge the penalties and keep theirs; each row's answer is given all the same. Large batches are
    taken up a part at a time, so that their size costs no memory here.

    Args:
        batches: Called three times: for the moments, for the losses of all penalties, and for
            the left-out predictions of the best.
        loss: Loss of the left-out predictions, see `fit_ridge`.

    Raises:
        ArgumentError: As `fit_ridge`.
    """
    moments = _Moments.of(_parts(batches()))
    fit = _Primal.of(moments)
    penalties = scaled_penalties(moments.scatter.diagonal().sum().item(), moments.rows)
    every = _distance(moments.rows, len(moments.target_mean))
    losses = dict.fromkeys(penalties, 0.0)
    for features, raw_targets in _parts(_every_so_many(batches(), every)):
        projected, targets = fit.project(features), raw_targets.double()
        for penalty in losses:
            left_out = fit.left_out(projected, targets, penalty)
            losses[penalty] += loss(left_out, targets).item()
    # The first of equals is the smallest penalty: `PENALTIES` ascend.
    best = min(losses, key=losses.__getitem__)
    weight = fit.weight(best)
    kept, answers = _predictions(fit, _parts(batches()), best, every)
    return RidgeFit(
        weight=weight,
        bias=moments.target_mean - weight @ moments.mean,
        penalty=best,
        left_out=kept,
        every=every,
        answers=answers,
        side="features",
    )


def _parts(batches: Iterable[Batch]) -> Iterator[Batch]:
    for features, targets in batches:
        yield from by_rows(features, targets)


def _distance(rows: int, classes: int) -> int:
    """Return how far rows are apart whose predictions are kept, and judge the penalties."""
    return ceil(rows / max(MOST_LOGITS // classes, 1))


def _every_so_many(batches: Iterable[Batch], every: int) -> Iterator[Batch]:
    """Yield every so many rows, from the first."""
    start = 0  # the next row to take, counted from the batch's first
    for features, targets in batches:
        if start < len(features):
            yield features[start::every], targets[start::every]
        start = (start - len(features)) % every


def _predictions(
    fit: "_Primal", batches: Iterable[Batch], penalty: float, every: int
) -> tuple[Tensor, Tensor]:
    """Return left-out predictions for every so many rows, and the largest one's place for all."""
    rows, classes = fit.moments.rows, len(fit.moments.target_mean)
    kept = fit.vectors.new_empty(ceil(rows / every), classes)
    answers, seen = [], 0
    for features, targets in batches:
        left_out = fit.left_out(fit.project(features), targets.double(), penalty)
        answers.append(left_out.argmax(dim=1))
        first = -seen % every
        place = ceil(seen / every)
        taken = left_out[first::every]
        kept[place : place + len(taken)] = taken
        seen += len(features)
    return kept, torch.cat(answers)


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
            scatter.addmm_(features.mT, features)
            cross.addmm_(features.mT, targets)
        check_rows(rows)
        assert shift is not None  # there are rows
        offset = total / rows
        return cls(
            rows=rows,
            mean=shift + offset,
            target_mean=target_total / rows,
            # The shift was that of the first batch: what it is off the mean is corrected here.
            scatter=scatter.addr_(offset, offset, alpha=-rows),
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
        return targets - residual / (1 - leverage).clamp_min(SMALLEST_LEFT)[:, None]

    def weight(self, penalty: float) -> Tensor:
        return (self.vectors @ (self.correlations / (self.eigenvalues + penalty)[:, None])).mT
