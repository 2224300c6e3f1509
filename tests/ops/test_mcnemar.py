"""McNemar's exact test, against scipy's binomial test."""

import pytest

from covtool.errors import ArgumentError
from covtool.ops.mcnemar import mcnemar

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(
    "first,second", [(0, 0), (0, 1), (3, 3), (1, 9), (40, 17), (500, 620), (20_000, 20_400)]
)
def test_the_chance_is_that_of_a_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second).p_value == pytest.approx(expected, rel=1e-7)
    assert mcnemar(second, first).p_value == mcnemar(first, second).p_value


def test_numbers_below_zero_are_refused() -> None:
    with pytest.raises(ArgumentError, match="not negative"):
        mcnemar(-1, 3)
