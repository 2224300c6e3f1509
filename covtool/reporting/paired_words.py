"""The words for a difference of two models on the same images or queries."""

from math import isnan

from covtool.ops.mcnemar import McNemar

LEAST_CHANCE = 1e-12


def likely_range(low: float, high: float, *, too_few: str) -> str:
    """Return the range that a difference probably lies in, in points of percent.

    Args:
        low: Its lower end; not a number where there is no range.
        high: Its upper end.
        too_few: What there are too few of in that case.
    """
    return f"too few {too_few} for a range" if isnan(low) else f"{low:+.2f} to {high:+.2f}"


def chance(test: McNemar) -> str:
    """Return the p-value with its sign: "= 0.012", or "below 1e-12"."""
    is_tiny = test.p_value < LEAST_CHANCE
    return f"below {LEAST_CHANCE:g}" if is_tiny else f"= {test.p_value:.2g}"


def chance_of(test: McNemar) -> str:
    """Return how probable so uneven a division would be between models that are equally good."""
    return (
        "were both equally good, a division at least as uneven would come about with a chance of "
        f"{chance(test).removeprefix('= ')}"
    )
