"""The learning rate that a range test suggests: a function of its rates and losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from covtool.errors import RangeTestError
from covtool.run_files.learning_rates import RatePoint

MARGIN = 3.0
"""Divisor of the largest rate at which the loss does not rise: a run makes more steps at it."""

NOISE_OF_FALL, NOISE_NATS = 0.25, 0.01
"""Rises up to this share of what the loss has fallen by, and so many nats, count as noise.

On the same images small steps change it smoothly. A share of the loss itself would be too much:
from a loss near that of a guess, a network that is ruined is hardly above where it began.
"""

LASTING = 5
"""Updates in a row with a risen loss that end a ramp."""

RISE = "a third of the largest rate before the held-out loss rises"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChoice:
    """A learning rate, and how it was found.

    Attributes:
        lr: Suggested rate, to two digits.
        largest: Largest rate before the held-out loss rises beyond noise.
        rule: Rule that leads from it to the suggestion, in words.
    """

    lr: float
    largest: float
    rule: str = RISE


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """A range test that is done.

    Attributes:
        points: The model as it came, with a rate of 0, then an update each.
        choice: Suggested rate.
    """

    points: tuple[RatePoint, ...]
    choice: RateChoice


def choose_rate(rates: Sequence[float], losses: Sequence[float], *, start: float) -> RateChoice:
    """Return the suggestion for a ramp of learning rates.

    The loss before the ramp counts, so a loss that can only rise, as one of a calibrated head, has
    a largest harmless rate as well. A rise must last for two updates, unless the ramp ends there
    or the loss is not finite: a single one may be a batch that went wrong.

    Args:
        rates: Rates in rising order, one an update.
        losses: Loss on the same images after each of these updates, in nats.
        start: That loss before the first.

    Raises:
        RangeTestError: The loss rises from the start, or no rate changes it.

    Example:
        >>> choose_rate([0.001, 0.01, 0.1, 1.0], [2.0, 1.5, 1.4, 9.0], start=2.1).lr
        0.033
    """
    if not math.isfinite(start):
        raise RangeTestError("The held-out loss of the model as it came is not finite.")
    tops = _risen(losses, start)
    last_of_two = [a and b for a, b in pairwise(tops)] + tops[-1:]
    ends = [two or not math.isfinite(v) for two, v in zip(last_of_two, losses, strict=True)]
    harmless = ends.index(True) if True in ends else len(losses)
    if harmless == 0:
        raise RangeTestError(
            f"The held-out loss rises at the lowest rate of the test already, {rates[0]:.2g}."
        )
    if harmless == len(losses) and min(losses) > start - NOISE_NATS:
        raise RangeTestError(
            f"No rate up to {rates[-1]:.2g} changes the held-out loss, which stays at {start:.3g}."
        )
    largest = rates[harmless - 1]
    return RateChoice(lr=two_digits(largest / MARGIN), largest=largest)


def is_over(losses: Sequence[float], *, start: float) -> bool:
    """Return whether a ramp may stop after its last loss.

    That loss is not finite, it is twice the best and a nat above, or the loss has risen for good.
    """
    best = min((start, *losses))  # NaN can only be the last, and `min` leaves it out then
    lasts = len(losses) >= LASTING and all(_risen(losses, start)[-LASTING:])
    return lasts or not losses[-1] <= best + max(best, 1.0)


def two_digits(rate: float) -> float:
    """Round a rate down to two digits, which a user can type."""
    step = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.floor(rate / step * (1 + 1e-12)) * step:.1e}")


def _risen(losses: Sequence[float], start: float) -> list[bool]:
    """Return for each loss whether it is above the best so far by more than noise."""
    risen, best = [], start
    for loss in losses:
        risen.append(loss > best + NOISE_OF_FALL * (start - best) + NOISE_NATS)
        best = min(best, loss)  # NaN is not below
    return risen
