"""Ways to average: all models, those that help, and a point between two."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from covtool.averaging.records import AverageRequest, Measured, Point, require_weights
from covtool.averaging.sources import Opener, Source
from covtool.averaging.weighted_sum import WeightedSum
from covtool.specs import Recipe

Measure = Callable[[nn.Module, Recipe], Measured]
"""A model in memory and its recipe to figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An average in memory.

    Attributes:
        method: ``uniform``, ``weighted``, ``greedy`` or ``line``.
        model: Model with the averaged weights.
        shares: Models in it, with their shares, which add up to 1.
        left_out: Models that were tried and are not in it.
        points: Models or averages that were measured on the way.
        measured: Figures of the average, where they are known already.
    """

    method: str
    model: nn.Module
    shares: tuple[tuple[Source, float], ...]
    left_out: tuple[Source, ...] = ()
    points: tuple[Point, ...] = ()
    measured: Measured | None = None


def all_models(
    given: tuple[str, ...], request: AverageRequest, open_source: Opener, measure: Measure | None
) -> Chosen:
    """Average all models, in equal or given shares; one of them is in memory at a time.

    Raises:
        ArgumentError: There are not as many weights as models.
        CheckpointError: See `Opener`.

    Source:
        Wortsman et al. "Model soups: averaging weights of multiple fine-tuned models improves
        accuracy without increasing inference time", ICML 2022, the uniform soup.
    """
    shares, total = require_weights(request.weights, len(given)), WeightedSum()
    sources, points = [], []
    for name, share in zip(given, shares, strict=True):
        model, source = open_source(name)
        total.add_(model.state_dict(), share, source.name)
        sources.append(source)
        if measure is not None:
            points.append(_point(source.name, measure(model, source.recipe)))
    return Chosen(
        method="uniform" if request.weights is None else "weighted",
        model=filled(model, total, open_source),
        shares=tuple(zip(sources, shares, strict=True)),
        points=tuple(points),
    )


def greedy_soup(given: tuple[str, ...], open_source: Opener, measure: Measure) -> Chosen:
    """Average the models that help: the best first, each if the soup does not get worse with it.

    Each model is opened twice, to be measured and to be tried.

    Raises:
        CheckpointError: See `Opener`.

    Source:
        Wortsman et al. "Model soups", ICML 2022, recipe 1.
    """
    alone: list[tuple[Source, Measured]] = []
    for name in given:
        model, source = open_source(name)
        alone.append((source, measure(model, source.recipe)))
    alone.sort(key=lambda pair: (-pair[1].top_1, pair[1].loss))
    soup, best, taken, left_out, points = WeightedSum(), None, [], [], []
    for source, own in alone:
        model, _ = open_source(source.given)
        trial = soup.plus(model.state_dict(), 1.0, source.name)
        found = own if best is None else measure(filled(model, trial, open_source), source.recipe)
        is_taken = best is None or found.top_1 >= best.top_1
        (taken if is_taken else left_out).append(source)
        if is_taken:
            soup, best = trial, found
        points.append(_point(source.name, own, with_it=found.top_1, taken=is_taken))
    share = 1 / len(taken)
    return Chosen(
        method="greedy",
        model=filled(model, soup, open_source),
        shares=tuple((source, share) for source in taken),
        left_out=tuple(left_out),
        points=tuple(points),
        measured=best,
    )


def point_of_line(request: AverageRequest, open_source: Opener, measure: Measure | None) -> Chosen:
    """Average two models at a point of the line between them, the best one where none is given.

    Of points with equal accuracy the one with the lowest loss is taken.

    Raises:
        CheckpointError: See `Opener`.

    Source:
        Wortsman et al. "Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT).
    """
    (first, start), (model, end) = (open_source(name) for name in request.between)
    # A copy: the second model takes each average.
    states = (
        first.state_dict(),
        {key: tensor.clone() for key, tensor in model.state_dict().items()},
    )

    def at(alpha: float) -> nn.Module:
        total = WeightedSum().add_(states[0], 1 - alpha, start.name)
        return filled(model, total.add_(states[1], alpha, end.name), open_source)

    alphas = [request.alpha] if request.alpha is not None else _grid(request.steps)
    figures = [measure(at(alpha), end.recipe) for alpha in alphas] if measure else [None]
    best = max(range(len(alphas)), key=lambda n: _quality(figures[n]))
    shares = ((start, 1 - alphas[best]), (end, alphas[best]))
    return Chosen(
        method="line",
        model=at(alphas[best]),
        shares=tuple(pair for pair in shares if pair[1] > 0),
        left_out=tuple(source for source, share in shares if share == 0),
        points=tuple(
            _point(f"{alpha:.4g}", found, alpha=alpha, taken=n == best)
            for n, (alpha, found) in enumerate(zip(alphas, figures, strict=True))
            if found is not None
        ),
        measured=figures[best],
    )


def _grid(steps: int) -> list[float]:
    return [number / (steps - 1) for number in range(steps)]


def _quality(found: Measured | None) -> tuple[float, float]:
    return (0.0, 0.0) if found is None else (found.top_1, -found.loss)


def _point(name: str, found: Measured, **fields: object) -> Point:
    return Point(name=name, top_1=found.top_1, loss=found.loss, **fields)


def filled(model: nn.Module, total: WeightedSum, open_source: Opener) -> nn.Module:
    """Give a model an average; of models of several kinds of numbers it is in float32."""
    if len(open_source.dtypes) > 1:
        model.float()
    return total.fill_(model)
