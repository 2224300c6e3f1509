"""McNemar's test: whether two classifiers differ on the same images by more than chance."""

import math
from dataclasses import dataclass

from covtool.errors import ArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """The test of two classifiers.

    Attributes:
        only_first: Images that the first has right and the second wrong.
        only_second: Images that the second has right and the first wrong.
        p_value: Chance of a division at least as uneven, were both equally good; exact, two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Test whether images that only one of two classifiers has right are divided evenly.

    Images that both have right, or wrong, say nothing of the difference. The test takes images as
    independent of each other: frames of one video are not.

    Args:
        only_first: Images that the first alone has right.
        only_second: Images that the second alone has right.

    Raises:
        ArgumentError: A number is negative.

    Source:
        McNemar. "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 1947; exact, by the binomial distribution with p = 1/2.

    Example:
        >>> round(mcnemar(1, 5).p_value, 5)
        0.21875
    """
    if min(only_first, only_second) < 0:
        raise ArgumentError("Numbers of images are not negative.")
    images, fewer = only_first + only_second, min(only_first, only_second)
    logs = (_log_choose(images, k) - images * math.log(2) for k in range(fewer + 1))
    tail = math.fsum(map(math.exp, logs))
    # Even: both tails hold the middle, and together they are certain.
    p_value = 1.0 if 2 * fewer == images else min(1.0, 2 * tail)
    return McNemar(only_first=only_first, only_second=only_second, p_value=p_value)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
