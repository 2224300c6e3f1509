"""Student's t without scipy, against scipy; means, deviations and intervals against their laws."""

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from covtool.errors import ArgumentError
from covtool.ops.t_intervals import (
    paired_interval,
    spread_of,
    t_probability,
    t_quantile,
    unpaired_interval,
)

DEGREES = (1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 100, 1001)


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("probability", (0.01, 0.4, 0.6, 0.9, 0.975, 0.9995))
def test_quantiles_are_those_of_scipy(degrees, probability) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("degrees", DEGREES)
def test_the_probability_is_that_of_scipy_and_undoes_the_quantile(degrees) -> None:
    for t in (0.0, 0.3, 2.0, 40.0):
        expected = 2 * stats.t.cdf(t, degrees) - 1
        assert t_probability(t, degrees) == pytest.approx(expected, abs=1e-12)
    assert t_probability(t_quantile(0.975, degrees), degrees) == pytest.approx(0.95, abs=1e-12)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_what_has_no_quantile_is_refused(probability, degrees) -> None:
    with pytest.raises(ArgumentError):
        t_quantile(probability, degrees)


def test_the_spread_is_that_of_the_standard_library() -> None:
    values = [71.2, 69.9, 74.0, 70.4]
    found = spread_of(values)
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-15)
    assert found.deviation == pytest.approx(statistics.stdev(values), rel=1e-14)


def test_a_large_mean_does_not_swallow_the_deviation() -> None:
    assert spread_of([1e9 + 1, 1e9 + 2, 1e9 + 3]).deviation == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("values", ([], [1.0, math.nan], [math.inf]))
def test_no_numbers_have_no_mean(values) -> None:
    with pytest.raises(ArgumentError):
        spread_of(values)


def test_a_single_measurement_has_neither_deviation_nor_interval() -> None:
    assert spread_of([3.0]).deviation is None
    for found in (paired_interval([3.0], [1.0]), unpaired_interval([3.0], [1.0, 2.0])):
        assert (found.half_width, found.bounds, found.degrees) == (None, None, 0)
    assert paired_interval([3.0], [1.0]).difference == 2.0


def test_the_paired_interval_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 7))
    found = paired_interval(first.tolist(), second.tolist())
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.bounds == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.difference == pytest.approx(first.mean() - second.mean(), rel=1e-12)


def test_pairs_drop_what_they_have_in_common() -> None:
    common = [10.0, 50.0, 90.0]
    found = paired_interval([value + 1 for value in common], common)
    assert (found.difference, found.half_width) == (1.0, 0.0)


def test_the_unpaired_interval_is_welchs_with_degrees_rounded_down() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, 5), generator.normal(1, 4, 9)
    found = unpaired_interval(first.tolist(), second.tolist())
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert found.degrees == math.floor(welch.df)
    narrower = welch.confidence_interval(0.95)
    low, high = found.bounds
    assert low <= narrower.low < narrower.high <= high
    error = math.sqrt(first.var(ddof=1) / 5 + second.var(ddof=1) / 9)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, found.degrees) * error, rel=1e-9)


def test_equal_groups_differ_by_nothing() -> None:
    found = unpaired_interval([2.0, 2.0], [1.0, 1.0, 1.0])
    assert (found.difference, found.half_width, found.degrees) == (1.0, 0.0, 1)


def test_unequal_numbers_are_no_pairs() -> None:
    with pytest.raises(ArgumentError, match="no pairs"):
        paired_interval([1.0], [1.0, 2.0])
