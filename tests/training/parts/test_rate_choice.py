"""The suggestion of a range test, on curves whose right answer is known."""

import math

import numpy as np
import pytest

from covtool.errors import RangeTestError
from covtool.training.parts.rate_choice import LASTING, MARGIN, choose_rate, is_over, two_digits

RATES = tuple(10.0 ** np.linspace(-5, 1, 31))  # five a decade


def valley(lowest, *, start=2.3, depth=1.5):
    """A loss that falls by `depth` around `lowest` / 10, and explodes beyond it."""
    return [
        start - depth / (1 + (lowest / 10 / rate) ** 1.5) + (rate / lowest / 1.5) ** 4
        for rate in RATES
    ]


@pytest.mark.parametrize("lowest", [1e-3, 1e-2, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.003])
def test_of_a_valley_it_is_a_third_of_where_the_loss_begins_to_rise(lowest, noise):
    drawn = np.random.default_rng(0).normal(scale=noise, size=len(RATES))
    choice = choose_rate(RATES, np.array(valley(lowest)) + drawn, start=2.3)
    assert lowest / 2 < choice.largest < 2 * lowest
    assert choice.lr == pytest.approx(choice.largest / MARGIN, rel=0.1)
    assert choice.lr <= choice.largest / MARGIN


def test_a_loss_that_only_rises_has_a_largest_harmless_rate():
    losses = [0.5 + (rate / 0.012) ** 2 for rate in RATES]
    choice = choose_rate(RATES, losses, start=0.5)
    assert choice.largest == max(rate for rate in RATES if (rate / 0.012) ** 2 <= 0.01)


def test_a_ruined_network_near_the_loss_of_a_guess_is_seen():
    """As measured: EfficientNet-Lite0 on 30 classes, from a loss near ln 30, goes back to it."""
    losses = [3.30, 3.29, 3.28, 3.27, 3.26, 3.25, 3.30, 3.35, 3.33, 3.53, 3.37, 3.45]
    assert choose_rate(RATES[: len(losses)], losses, start=3.30).largest == RATES[5]


def test_a_loss_that_falls_to_the_end_leaves_the_end():
    losses = list(np.linspace(2.3, 0.5, len(RATES)))
    assert choose_rate(RATES, losses, start=2.3).largest == RATES[-1]


def test_a_single_point_that_is_high_is_noise():
    losses = valley(1e-2)
    losses[8] += 1.0
    assert choose_rate(RATES, losses, start=2.3) == choose_rate(RATES, valley(1e-2), start=2.3)


def test_a_loss_that_comes_back_after_the_explosion_does_not_count():
    losses = [1.0] * 10 + [0.8, 9.0, 9.0, 0.1, 0.1] + [0.1] * 16
    assert choose_rate(RATES, losses, start=1.0).largest == RATES[10]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_ramp_at_once(bad):
    choice = choose_rate(RATES[:4], [2.2, 2.0, bad, 1.0], start=2.3)
    assert choice.largest == RATES[1]
    choice = choose_rate(RATES[:3], [2.3, 2.3, bad], start=2.3)  # without any fall before
    assert choice.largest == RATES[1]


@pytest.mark.parametrize("losses", [[9.0, 9.0, 9.0], [math.nan, 1.0], [9.0], [9.0, math.inf]])
def test_an_explosion_at_once_suggests_nothing(losses):
    with pytest.raises(RangeTestError, match="rises at the lowest rate of the test already, 1e-05"):
        choose_rate(RATES[: len(losses)], losses, start=2.0)


def test_a_flat_loss_suggests_nothing():
    with pytest.raises(RangeTestError, match="No rate up to 10 changes the held-out loss"):
        choose_rate(RATES, [2.3] * len(RATES), start=2.3)


def test_a_model_whose_loss_is_not_finite_has_no_rate():
    with pytest.raises(RangeTestError, match="as it came is not finite"):
        choose_rate(RATES[:1], [1.0], start=math.nan)


@pytest.mark.parametrize(
    ("rate", "rounded"),
    [(0.001707, 0.0017), (0.00199, 0.0019), (0.002, 0.002), (3.3333, 3.3), (3e-5 / 3, 1e-5)],
)
def test_suggestions_have_two_digits_and_are_rounded_down(rate, rounded):
    assert two_digits(rate) == rounded
    assert float(f"{rounded:g}") == rounded  # what is shown is what is used


@pytest.mark.parametrize(
    ("losses", "over"),
    [
        ([0.9, 1.9], False),
        ([0.9, 2.0], True),  # twice the best, and a nat above
        ([0.1, 0.9], False),
        ([0.1, 1.2], True),
        ([0.9, math.nan], True),
        ([math.inf], True),
        ([0.9] + [1.1] * (LASTING - 1), False),
        ([0.9] + [1.1] * LASTING, True),  # risen for good
    ],
)
def test_a_ramp_ends_where_the_loss_explodes_or_has_risen_for_good(losses, over):
    assert is_over(losses, start=1.0) == over
