"""Figures with the ranges that hold the true ones with 95 %, by resampling images or identities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

import torch
from torch import Tensor

from covtool.evaluation.classification.accuracy import ClassificationResult
from covtool.evaluation.classification.answers import ImageAnswers
from covtool.evaluation.retrieval.ranking import RetrievalResult
from covtool.ops.class_figures import macro_figures
from covtool.ops.resampling import FEWEST_UNITS, Intervals, mean_intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    """A figure and its range, in one unit.

    Attributes:
        value: The figure.
        low: Its least likely value; NaN where there is no range.
        high: Its largest likely value, likewise.
        units: Images, or identities, that were resampled.
    """

    value: float
    low: float
    high: float
    units: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """The least and the largest likely value; None where there is no range."""
        return None if isnan(self.low) or isnan(self.high) else (self.low, self.high)

    def range_in_words(self, *, digits: int = 2, of: str = "images") -> str:
        """Return the range, or why there is none.

        Args:
            digits: Digits behind the point.
            of: What was resampled.
        """
        if self.ends is not None:
            return f"{self.low:.{digits}f} to {self.high:.{digits}f}"
        if self.units < FEWEST_UNITS:
            return f"too few {of} for a range"
        return "no range: resampling leaves it as it is"


def answered_shares(result: ClassificationResult, answers: ImageAnswers) -> dict[str, Ranged]:
    """Return top-1, and top-5 where there is one, in percent, by their names in `result`."""
    shares = torch.stack([answers.right == answers.given, answers.rank < 5]).double()
    found = mean_intervals(shares)
    values = {"top_1": result.top_1, "top_5": result.top_5}
    return {
        name: _in_percent(value, found, row)
        for row, (name, value) in enumerate(values.items())
        if value is not None
    }


def classifier_figures(result: ClassificationResult, answers: ImageAnswers) -> dict[str, Ranged]:
    """Return the figures of a classifier that have a range, by their names.

    Args:
        result: The figures as they were measured.
        answers: The answer for each image.

    Returns:
        ``top_1``, ``top_5`` where there is one, ``macro_precision``, ``macro_recall`` and
        ``macro_f1`` in percent, and ``nll`` in nats.
    """
    macro = macro_figures(answers.right, answers.given, len(result.class_names))
    means = {"precision": macro.precision, "recall": macro.recall, "f1": macro.f1}
    units, nan = len(answers), float("nan")
    low = high = nan
    if answers.loss.isfinite().all():
        found = mean_intervals(answers.loss, bounds=None)
        low, high = float(found.low), float(found.high)
    return {
        **answered_shares(result, answers),
        **{
            f"macro_{name}": Ranged(
                value=100 * value, low=100 * least, high=100 * largest, units=units
            )
            for name, (value, least, largest) in means.items()
        },
        "nll": Ranged(value=result.probabilities.nll, low=low, high=high, units=units),
    }


def search_figures(
    result: RetrievalResult, rows: Sequence[int], identities: Tensor
) -> dict[str, Ranged]:
    """Return the figures that are means over queries, in percent: rank-k or Recall@k, and mAP.

    Args:
        result: The figures as they were measured.
        rows: Queries that count.
        identities: Identity of each, (Q,); identities are resampled, each with all of its queries.
    """
    first = torch.tensor([result.first_ranks[row] for row in rows])
    means = {"mAP": torch.tensor([result.average_precisions[row] for row in rows]) / 100}
    for k, (name, _) in zip(result.cmc, result.figures(), strict=False):
        means[name] = first <= k
    values = torch.stack([mean.double() for mean in means.values()])
    found = mean_intervals(values, groups=identities)
    known = dict(result.figures())
    return {name: _in_percent(known[name], found, row) for row, name in enumerate(means)}


def ranges_of(figures: Mapping[str, Ranged]) -> dict[str, tuple[float, float] | None]:
    """Return the ranges alone, by the names of the figures; None for one without a range."""
    return {name: figure.ends for name, figure in figures.items()}


def _in_percent(value: float, found: Intervals, row: int) -> Ranged:
    """Return a figure in percent with the range of a share of 1."""
    low, high = (100 * float(ends[row]) for ends in (found.low, found.high))
    return Ranged(value=value, low=low, high=high, units=found.units)
