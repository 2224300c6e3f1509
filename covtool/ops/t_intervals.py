"""Means of repeated measurements, and intervals of Student's t for their differences.

Plain numbers in float64: a few repeats, not tensors. Degrees of freedom are whole numbers, for
which the distribution is a finite sum: nothing beyond Python's own mathematics is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, cos, fsum, isfinite, pi, sin, sqrt, tan

from covtool.errors import ArgumentError

CONFIDENCE = 0.95
"""Share of intervals, over many studies, that hold the true difference."""

_MOST_TERMS = 100_000  # of the distribution's sum: from there on it is a normal one to 5 digits
_BISECTIONS = 200  # of an angle: more than a float64 can be halved


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Several measurements of the same figure.

    Attributes:
        count: Number of measurements.
        mean: Their mean.
        deviation: Standard deviation of one measurement, with n - 1 below; None of a single one.
    """

    count: int
    mean: float
    deviation: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A difference of means, and the interval that holds the true one with `CONFIDENCE`.

    Attributes:
        difference: Mean of the first minus mean of the second.
        half_width: The interval is the difference plus and minus this; None where there are too few
            measurements to know.
        degrees: Degrees of freedom; 0 where there is no interval.
    """

    difference: float
    half_width: float | None
    degrees: int

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where there is none."""
        if self.half_width is None:
            return None
        return self.difference - self.half_width, self.difference + self.half_width


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and standard deviation of measurements.

    Args:
        values: The measurements, at least one, all finite.

    Raises:
        ArgumentError: There are none, or one is not a finite number.

    Example:
        >>> spread_of([1.0, 2.0, 3.0])
        Spread(count=3, mean=2.0, deviation=1.0)
    """
    if not values or not all(map(isfinite, values)):
        raise ArgumentError("A mean is that of finite numbers, one at least.")
    mean = fsum(values) / len(values)
    if len(values) == 1:
        return Spread(count=1, mean=mean, deviation=None)
    squares = fsum((value - mean) ** 2 for value in values)
    return Spread(count=len(values), mean=mean, deviation=sqrt(squares / (len(values) - 1)))


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the mean of the differences of pairs with its t interval.

    What both of a pair have in common, as the seed or the fold, drops out.

    Args:
        first: Measurements, at least one.
        second: As many, each of the same pair as the one of `first`.

    Raises:
        ArgumentError: There are not as many, or none, or one is not a finite number.

    Source:
        Student (W. S. Gosset). "The Probable Error of a Mean", Biometrika 6, 1908.

    Example:
        >>> found = paired_interval([71.0, 73.0, 72.0], [70.0, 71.0, 71.5])
        >>> round(found.difference, 3), round(found.half_width, 3), found.degrees
        (1.167, 1.897, 2)
    """
    if len(first) != len(second):
        raise ArgumentError(f"{len(first)} and {len(second)} measurements are no pairs.")
    spread = spread_of([one - other for one, other in zip(first, second, strict=True)])
    if spread.deviation is None:
        return Interval(difference=spread.mean, half_width=None, degrees=0)
    degrees = spread.count - 1
    error = spread.deviation / sqrt(spread.count)
    return Interval(difference=spread.mean, half_width=_two_sided(degrees) * error, degrees=degrees)


def unpaired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the difference of two means with Welch's t interval, whose variances may differ.

    Degrees of freedom are rounded down, which makes the interval a little wider.

    Args:
        first: Measurements, at least one.
        second: Other measurements, at least one.

    Raises:
        ArgumentError: There are none, or one is not a finite number.

    Source:
        Welch. "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 34, 1947.
    """
    one, other = spread_of(first), spread_of(second)
    difference = one.mean - other.mean
    if one.deviation is None or other.deviation is None:
        return Interval(difference=difference, half_width=None, degrees=0)
    shares = [s.deviation**2 / s.count for s in (one, other) if s.deviation is not None]
    variance = fsum(shares)
    counts = (one.count, other.count)
    # No deviation at all on either side: the smaller sample's own degrees.
    degrees = min(counts) - 1
    if variance:
        below = fsum((v / variance) ** 2 / (n - 1) for v, n in zip(shares, counts, strict=True))
        degrees = max(degrees, int(1 / below))
    return Interval(
        difference=difference, half_width=_two_sided(degrees) * sqrt(variance), degrees=degrees
    )


def _two_sided(degrees: int) -> float:
    return t_quantile((1 + CONFIDENCE) / 2, degrees)


def t_quantile(probability: float, degrees: int) -> float:
    """Return the number that Student's t is below with a probability.

    Args:
        probability: In (0, 1).
        degrees: Degrees of freedom, at least 1.

    Raises:
        ArgumentError: One of them is out of range.

    Source:
        Abramowitz and Stegun. "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.

    Example:
        >>> round(t_quantile(0.975, 4), 4)
        2.7764
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ArgumentError("A quantile of t has a probability in (0, 1) and degrees from 1 on.")
    inside = abs(2 * probability - 1)  # of the symmetric interval that ends there
    low, high = 0.0, pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _inside(middle, degrees) < inside else (low, middle)
    # The angle is that of t against the root of the degrees.
    found = tan(low) * sqrt(degrees)
    return found if probability > 0.5 else -found


def t_probability(t: float, degrees: int) -> float:
    """Return the probability that Student's t lies between -t and t, for t from 0 on."""
    return _inside(atan(t / sqrt(degrees)), degrees)


def _inside(angle: float, degrees: int) -> float:
    """Return the probability of the symmetric interval that ends at tan(angle) root(degrees)."""
    degrees = min(degrees, _MOST_TERMS)
    squared, is_odd = cos(angle) ** 2, degrees % 2 == 1
    # Each term is the one before times cos^2 and a ratio of two neighboring whole numbers.
    term = cos(angle) if is_odd else 1.0
    terms = []
    for number in range(1 + is_odd, degrees, 2):
        terms.append(term)
        term *= squared * number / (number + 1)
    total = sin(angle) * fsum(terms)
    return 2 / pi * (angle + total) if is_odd else total
