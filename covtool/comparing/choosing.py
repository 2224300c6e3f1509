"""Which rows are as good as the best, which of them is the cheapest, which are on the front."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from covtool.comparing.records import Interval
from covtool.ops.resampling import difference_intervals, mean_intervals

CHEAPER = 0.01
"""Share of the operations that makes a difference: below it the number of features decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the figures of all rows say about one of them; see `ComparedRow`."""

    interval: Interval
    difference: float
    difference_interval: Interval
    near_best: bool
    on_front: bool
    recommended: bool


Cost = tuple[float, int, float]
"""GFLOPs, features and milliseconds of an image."""


def judge(
    values: Tensor, costs: Sequence[Cost], *, groups: Tensor | None = None
) -> tuple[Judgement, ...]:
    """Judge rows by what each image gets in each of them.

    The cheapest row within one standard error of the best is recommended, and not the cheapest of
    all that chance may tell from the best: with few images those are many, and some are worse.

    Args:
        values: Value of each image in each row, 0 to 1, shape (rows, n).
        costs: Cost of each row.
        groups: Group of each image, where those of a group are not independent; see
            `covtool.ops.resampling.mean_intervals`.

    Source:
        Breiman, Friedman, Olshen, Stone. "Classification and Regression Trees", 1984, section
        3.4.3, for one standard error.
    """
    figures = values.double().mean(dim=1).tolist()
    gflops = [cost[0] for cost in costs]
    # Of equal ones the cheapest stands for the best.
    best = min(range(len(costs)), key=lambda row: (-figures[row], _order(costs, row)))
    own = mean_intervals(values, groups=groups)
    apart = difference_intervals(values, values[best], groups=groups)
    near = [
        bool(holds) or row == best or not isfinite(apart.low[row])
        for row, holds in enumerate(apart.holds_zero)
    ]
    within = apart.estimate + _standard_errors(values.double() - values[best], groups) >= 0
    candidates = [row for row in range(len(costs)) if near[row] and within[row]]
    recommended = min(candidates, key=lambda row: _order(costs, row))
    front = {(figures[row], gflops[row]) for row in pareto_front(figures, gflops)}
    return tuple(
        Judgement(
            interval=_percent(own.low[row], own.high[row]),
            difference=100 * apart.estimate[row].item(),
            # To itself it has none, whatever the resamples would say of two rows that agree.
            difference_interval=_percent(apart.low[row], apart.high[row])
            if row != best
            else (0.0, 0.0),
            near_best=near[row],
            on_front=(figures[row], gflops[row]) in front,
            recommended=row == recommended,
        )
        for row in range(len(costs))
    )


def pareto_front(figures: Sequence[float], costs: Sequence[float]) -> list[int]:
    """Return the places of rows that no other beats at the same cost or less, cheapest first.

    Of rows with the same figure at the same cost, it has the first.

    Args:
        figures: Figure of each row; more is better.
        costs: Cost of each row.
    """
    front: list[int] = []
    # Of equal costs the best comes first, and others of that cost are beaten.
    for place in sorted(range(len(costs)), key=lambda p: (costs[p], -figures[p], p)):
        if not front or figures[place] > figures[front[-1]]:
            front.append(place)
    return front


def _standard_errors(apart: Tensor, groups: Tensor | None) -> Tensor:
    """Return the standard error of each row's mean, (rows,); images of a group are one draw."""
    residuals = apart - apart.mean(dim=1, keepdim=True)
    if groups is not None:
        _, place = torch.unique(groups, return_inverse=True)
        together = residuals.new_zeros(len(residuals), int(place.max()) + 1)
        residuals = together.index_add_(1, place, residuals)
    return residuals.square().sum(dim=1).sqrt() / apart.shape[1]


def _order(costs: Sequence[Cost], row: int) -> tuple[float, int, float, int]:
    """Return what rows are ordered by from cheap to expensive."""
    gflops, features, ms = costs[row]
    # Networks up to one tap differ by their heads, and those by what no clock would show.
    least = min(cost[0] for cost in costs) or 1.0
    step = CHEAPER * least
    return round(gflops / step), features, ms, row


def _percent(low: Tensor, high: Tensor) -> Interval:
    return 100 * low.item(), 100 * high.item()
