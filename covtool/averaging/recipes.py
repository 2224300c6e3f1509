"""The recipe of an average: structure of its sources, and a record of them."""

from collections.abc import Iterable
from itertools import takewhile
from typing import TypeVar

from covtool import __version__
from covtool.averaging.choosing import Chosen
from covtool.averaging.records import AverageRequest, Measured
from covtool.averaging.sources import Source
from covtool.specs import Metric, Recipe
from covtool.specs.provenance import (
    LONGEST_LINE,
    AverageSource,
    AverageStep,
    Provenance,
    Since,
    Step,
    phrase,
)
from covtool.specs.training_history import trained_as_they_are, trained_in_boxes, was_trained

T = TypeVar("T")

ANSWERS = {
    "ever": was_trained,
    "conversion": trained_as_they_are,
    "eigenlayer": lambda steps: was_trained(steps, since_eigenlayer=True),
}
"""Questions that the history of an average answers for its sources."""


def averaged_recipe(
    chosen: Chosen,
    request: AverageRequest,
    *,
    measured: Measured | None,
    statistics: str | None,
) -> Recipe:
    """Return the recipe of an average.

    Args:
        chosen: The average.
        request: The request.
        measured: Figures of the average; None where there was no data.
        statistics: Name of the data that batch norms were estimated on; None for averages.
    """
    recipes = [source.recipe for source, _ in chosen.shares]
    shared = common_steps([recipe.provenance.steps for recipe in recipes])
    step = AverageStep(
        method=chosen.method,
        sources=tuple(_record(*pair, beyond=len(shared)) for pair in chosen.shares),
        left_out=tuple(source.name for source in chosen.left_out),
        data=measured.data if measured is not None and request.chooses else None,
        layout=request.layout,
        statistics=statistics,
        trained=_trained(recipes),
        boxes=_same(trained_in_boxes(recipe.provenance.steps) for recipe in recipes),
    )
    provenance = Provenance(
        source=_same(recipe.provenance.source for recipe in recipes),
        source_sha256=_same(recipe.provenance.source_sha256 for recipe in recipes),
        covtool_version=__version__,
        steps=(*shared, step),
        data=_data(recipes),
        metrics=_metrics(measured),
        untrained=tuple(sorted({part for one in recipes for part in one.provenance.untrained})),
    )
    # The sources' temperatures and neighbors were chosen for other weights.
    scores = None if measured is None else measured.scores
    changed = {"provenance": provenance, "scores": scores, "neighbors": None}
    return recipes[0].model_copy(update=changed)


def common_steps(histories: list[tuple[Step, ...]]) -> tuple[Step, ...]:
    """Return the steps that all histories begin with."""
    together = zip(*histories, strict=False)
    same = takewhile(lambda steps: all(step == steps[0] for step in steps), together)
    return tuple(steps[0] for steps in same)


def _record(source: Source, share: float, *, beyond: int) -> AverageSource:
    steps = source.recipe.provenance.steps[beyond:]
    return AverageSource(
        name=source.name,
        weight=share,
        history=tuple(phrase(step)[:LONGEST_LINE] for step in steps),
    )


def _trained(recipes: list[Recipe]) -> tuple[Since, ...]:
    histories = [recipe.provenance.steps for recipe in recipes]
    return tuple(since for since, answer in ANSWERS.items() if any(map(answer, histories)))


def _same(values: Iterable[T]) -> T | None:
    """Return a value that all have; None where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _data(recipes: list[Recipe]) -> str | None:
    found = (recipe.provenance.data for recipe in recipes)
    return ", ".join(dict.fromkeys(filter(None, found))) or None


def _metrics(measured: Measured | None) -> tuple[Metric, ...]:
    if measured is None:
        return ()
    figures = {"top_1": measured.top_1, "loss": measured.loss}
    return tuple(
        Metric(name=name, value=value, data=measured.data, images=measured.images)
        for name, value in figures.items()
    )
