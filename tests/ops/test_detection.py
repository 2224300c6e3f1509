"""Figures of a score that tells two kinds of images apart, against scipy and against every pair."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from covtool.errors import ArgumentError
from covtool.ops.detection import area_under_roc, false_positive_rate

DRAWS = pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (7, 30), (200, 90)], ids=["one each", "few", "many"]
)


def drawn(low, high, *, ties):
    generator = np.random.default_rng(low)
    scores = generator.normal(0, 1, low), generator.normal(1, 1, high)
    return [np.round(part * 2) if ties else part for part in scores]


@pytest.mark.parametrize("ties", [True, False])
@DRAWS
def test_the_area_is_the_statistic_of_mann_and_whitney(low, high, ties) -> None:
    low, high = drawn(low, high, ties=ties)
    expected = mannwhitneyu(high, low).statistic / (len(low) * len(high))
    pairs = np.mean((high[:, None] > low) + 0.5 * (high[:, None] == low))
    found = area_under_roc(torch.tensor(low), torch.tensor(high))
    assert found == pytest.approx(expected, abs=1e-14)
    assert found == pytest.approx(pairs, abs=1e-14)
    assert area_under_roc(torch.tensor(high), torch.tensor(low)) == pytest.approx(1 - found)


def test_equal_scores_are_a_coin_and_a_clear_gap_is_certain() -> None:
    assert area_under_roc(torch.ones(3), torch.ones(5)) == 0.5
    assert area_under_roc(torch.zeros(3), torch.ones(5)) == 1
    assert false_positive_rate(torch.zeros(3), torch.ones(5)) == 0
    assert false_positive_rate(torch.ones(3), torch.ones(5)) == 1


@pytest.mark.parametrize("ties", [True, False])
@DRAWS
def test_the_rate_is_that_of_the_lowest_threshold_that_accepts_enough(low, high, ties) -> None:
    low, high = drawn(low, high, ties=ties)
    enough = [t for t in np.sort(low) if np.count_nonzero(low <= t) >= 0.95 * len(low) - 1e-9]
    expected = np.count_nonzero(high <= enough[0]) / len(high)
    assert false_positive_rate(torch.tensor(low), torch.tensor(high)) == expected


def test_nineteen_of_twenty_are_95_percent() -> None:
    low = torch.arange(20.0)
    assert false_positive_rate(low, torch.tensor([18.0, 18.5, 19.0, 20.0])) == 0.25


@pytest.mark.parametrize("figure", [area_under_roc, false_positive_rate])
@pytest.mark.parametrize("scores", [torch.zeros(0), torch.tensor([torch.nan]), torch.zeros(2, 2)])
def test_what_cannot_be_sorted_is_refused(figure, scores) -> None:
    for pair in ((scores, torch.ones(2)), (torch.ones(2), scores)):
        with pytest.raises(ArgumentError):
            figure(*pair)
