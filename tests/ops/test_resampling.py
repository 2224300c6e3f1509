"""Intervals hold the true mean as often as they say; pairs and groups are drawn together."""

import math
from itertools import product
from statistics import NormalDist

import pytest
import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.resampling import (
    FEWEST_UNITS,
    Resampling,
    difference_intervals,
    mean_intervals,
    student_quantile,
)

SIMULATED = 600
"""Simulated data sets of a coverage: of 0.95, its standard deviation is then 0.009."""
COVERED = (0.925, 0.985)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coverage(intervals, true: float) -> float:
    return ((intervals.low <= true) & (true <= intervals.high)).double().mean().item()


def wilson(share: float, count: int) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.975)
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    return center - half, center + half


@pytest.mark.parametrize("share", [0.5, 0.7, 0.95])
def test_an_interval_of_a_share_is_wilsons(share: float) -> None:
    found = mean_intervals(torch.arange(1000) < 1000 * share)
    assert found.estimate.item() == pytest.approx(share)
    low, high = wilson(share, 1000)
    width = high - low
    assert found.low.item() == pytest.approx(low, abs=0.06 * width)
    assert found.high.item() == pytest.approx(high, abs=0.06 * width)


def test_an_interval_of_many_numbers_is_the_normal_distributions() -> None:
    values = uniform(5000).square() * 40 - 10
    found = mean_intervals(values, bounds=None)
    error = values.std().item() / math.sqrt(len(values))
    for end, sign in ((found.low, -1), (found.high, 1)):
        expected = values.mean().item() + sign * 1.96 * error
        assert end.item() == pytest.approx(expected, abs=0.2 * error)


def test_ends_are_quantiles_of_all_resamples_where_they_can_be_counted() -> None:
    values = torch.tensor([0.0, 1.0, 3.0, 7.0, 20.0, 21.0], dtype=torch.float64)
    every = sorted(sum(drawn) / 6 for drawn in product(values.tolist(), repeat=6))
    settings = Resampling(level=0.8, resamples=50_000)
    found = mean_intervals(values, bounds=None, settings=settings)
    tail = NormalDist().cdf(-student_quantile(1.2816, 5) * math.sqrt(6 / 5))
    assert 0.05 < tail < 0.06  # not 0.1: six are few
    assert found.low.item() == pytest.approx(every[int(tail * len(every))], abs=0.18)
    assert found.high.item() == pytest.approx(every[-int(tail * len(every))], abs=0.18)


@pytest.mark.parametrize(
    ("count", "share"), [(60, 0.5), (60, 0.8), (60, 0.9), (400, 0.7), (400, 0.97)]
)
def test_shares_are_covered(count: int, share: float) -> None:
    found = mean_intervals(uniform(SIMULATED, count) < share, settings=Resampling(resamples=1000))
    assert COVERED[0] < coverage(found, share) < COVERED[1]


def test_without_the_values_at_the_bounds_high_shares_would_not_be_covered() -> None:
    right = uniform(SIMULATED, 60) < 0.97
    assert coverage(mean_intervals(right, bounds=None), 0.97) < 0.9


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_means_of_few_skewed_numbers_are_covered(level: float) -> None:
    values = uniform(SIMULATED, 25).sqrt()
    found = mean_intervals(values, bounds=None, settings=Resampling(level=level, resamples=1000))
    assert abs(coverage(found, 2 / 3) - level) < 0.04


@pytest.mark.parametrize(("only_first", "only_second"), [(0.2, 0.15), (0.05, 0.01)])
def test_differences_of_pairs_are_covered(only_first: float, only_second: float) -> None:
    drawn = uniform(SIMULATED, 200)
    both = drawn > 0.6
    first = both | (drawn < only_first)
    second = both | ((drawn >= only_first) & (drawn < only_first + only_second))
    found = difference_intervals(first, second, settings=Resampling(resamples=1000))
    assert COVERED[0] < coverage(found, only_first - only_second) < COVERED[1]


def test_a_difference_of_pairs_has_the_width_of_the_pairs_that_differ() -> None:
    image = torch.arange(1000)
    first, second = image < 740, (image < 700) | (image >= 990)  # 40 and 10 differ
    found = difference_intervals(first, second)
    assert found.estimate.item() == pytest.approx(0.03)
    expected = 2 * 1.96 * math.sqrt(50 / 1000 - 0.03**2) / math.sqrt(1000)
    assert (found.high - found.low).item() == pytest.approx(expected, rel=0.08)
    alone = mean_intervals(torch.stack([first, second]))
    assert (alone.high - alone.low).min() > 1.9 * (found.high - found.low)


@pytest.mark.parametrize(("wins", "is_chance"), [(1, True), (4, True), (7, False), (20, False)])
def test_a_few_images_make_no_difference(wins: int, is_chance: bool) -> None:
    """McNemar's exact test rejects from 6 wins to none on."""
    image = torch.arange(600)
    found = difference_intervals(image < 500 + wins, image < 500)
    assert bool(found.holds_zero) is is_chance


def test_images_of_a_group_are_drawn_together() -> None:
    groups = torch.arange(20).repeat_interleave(15)
    effects = (uniform(SIMULATED, 20, seed=1) * 0.8 + 0.1)[:, groups]
    right = uniform(SIMULATED, len(groups), seed=2) < effects
    settings = Resampling(resamples=1000)
    grouped = mean_intervals(right, groups=groups, settings=settings)
    assert COVERED[0] < coverage(grouped, 0.5) < COVERED[1]
    assert coverage(mean_intervals(right, settings=settings), 0.5) < 0.8
    assert (grouped.units, mean_intervals(right).units) == (20, 300)


def test_a_mean_over_groups_is_that_of_images_whatever_groups_are_called() -> None:
    groups = torch.tensor([7, 7, 7, -3, 5, 5, 900, 1, 1, 0])
    values = uniform(10)
    found = mean_intervals(values, groups=groups)
    assert found.estimate.item() == pytest.approx(values.mean().item())
    _, renamed = torch.unique(groups, return_inverse=True)
    other = mean_intervals(values, groups=renamed)
    assert (found.low.item(), found.high.item()) == (other.low.item(), other.high.item())


@pytest.mark.parametrize("value", [True, False])
def test_all_right_or_all_wrong_is_not_certain(value: bool) -> None:
    for groups in (None, torch.arange(100) // 5):
        found = mean_intervals(torch.full((100,), value), groups=groups)
        assert found.estimate.item() == float(value)
        near, far = (found.high, found.low) if value else (found.low, found.high)
        assert near.item() == float(value)
        assert 0.01 < abs(far.item() - value) < 0.2
    # Clopper and Pearson: the share of others of which 20 drawn would show none in 2.5 % of cases.
    assert abs(far.item() - value) == pytest.approx(1 - 0.025 ** (1 / 20))


def test_equal_rows_may_still_differ_on_other_images() -> None:
    right = torch.arange(200) < 150
    for groups in (None, torch.arange(200) // 10):
        found = difference_intervals(right, right, groups=groups)
        assert found.low < found.estimate == 0 < found.high
        assert bool(found.holds_zero)


def test_what_resampling_cannot_know_is_nan() -> None:
    few = mean_intervals(uniform(FEWEST_UNITS - 1))
    flat = mean_intervals(torch.full((50,), 3.0), bounds=None)
    grouped = mean_intervals(uniform(40), groups=torch.arange(40) % (FEWEST_UNITS - 1))
    for found in (few, flat, grouped):
        assert found.estimate.isfinite()
        assert found.low.isnan()
        assert found.high.isnan()
        assert bool(found.holds_zero)
    assert mean_intervals(uniform(FEWEST_UNITS)).low.isfinite()


def test_rows_see_the_same_resamples_and_alone_the_same_interval() -> None:
    values = uniform(3, 300)
    settings = Resampling(resamples=300)
    together = mean_intervals(values, settings=settings)
    for row in range(3):
        alone = mean_intervals(values[row], settings=settings)
        assert alone.estimate.shape == ()
        torch.testing.assert_close(alone.low, together.low[row])
        torch.testing.assert_close(alone.high, together.high[row])
    again = mean_intervals(values, settings=settings)
    assert torch.equal(together.low, again.low)
    other = mean_intervals(values, settings=Resampling(resamples=300, seed=1))
    assert not torch.equal(together.low, other.low)


def test_hits_and_numbers_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers are summed in float32, which must change nothing; nor must blocks."""
    right = uniform(2, 500) < 0.8
    fast = mean_intervals(right)
    monkeypatch.setattr("covtool.ops.resampling._WHOLE_IN_FLOAT32", 0)
    monkeypatch.setattr("covtool.ops.resampling._NUMBERS_AT_ONCE", 1100)
    slow = mean_intervals(right.float())
    assert torch.equal(fast.low, slow.low)
    assert torch.equal(fast.high, slow.high)


def test_values_are_not_modified_and_references_may_have_rows() -> None:
    values, reference = uniform(4, 60), uniform(60, seed=3)
    before = values.clone()
    by_row = difference_intervals(values, reference.expand(4, -1))
    shared = difference_intervals(values, reference)
    assert torch.equal(by_row.low, shared.low)
    assert torch.equal(values, before)
    assert (shared.low <= shared.estimate).all()
    assert (shared.estimate <= shared.high).all()


@pytest.mark.parametrize(
    ("values", "groups", "bounds", "error", "message"),
    [
        (torch.ones(2, 3, 4), None, (0, 1), ShapeError, r"\(rows, n\)"),
        (torch.ones(0), None, (0, 1), ShapeError, r"\(rows, n\)"),
        (torch.ones(9), torch.ones(8), (0, 1), ShapeError, "groups"),
        (torch.tensor([1.0, torch.nan]), None, None, ArgumentError, "not finite"),
        (torch.tensor([1.0, torch.inf]), None, None, ArgumentError, "not finite"),
        (torch.tensor([0.0, 80.0]), None, (0, 1), ArgumentError, "between 0 and 80.*\n.*percent"),
    ],
)
def test_values_that_have_no_mean_are_refused(values, groups, bounds, error, message) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        mean_intervals(values, groups=groups, bounds=bounds)


def test_a_reference_of_other_images_is_refused() -> None:
    with pytest.raises(ShapeError, match="reference"):
        difference_intervals(torch.ones(2, 30), torch.ones(29))


@pytest.mark.parametrize(
    "settings", [{"level": 1.0}, {"level": 0.0}, {"level": 0.999}, {"resamples": 30}]
)
def test_settings_that_give_no_interval_are_refused(settings: dict) -> None:
    with pytest.raises(ArgumentError, match="level"):
        Resampling(**{"resamples": 1000, **settings})


@pytest.mark.parametrize(
    ("degrees", "level", "expected"),
    [(4, 0.975, 2.7764), (5, 0.975, 2.5706), (20, 0.975, 2.0860), (10, 0.995, 3.1693)],
)
def test_quantiles_of_students_distribution_are_those_of_its_tables(
    degrees: int, level: float, expected: float
) -> None:
    found = student_quantile(NormalDist().inv_cdf(level), degrees)
    assert found == pytest.approx(expected, rel=2e-3)
