"""The penalties that are tried, and the losses that they are judged by."""

from collections.abc import Callable

from torch import Tensor

from covtool.errors import ArgumentError

PENALTIES = tuple(10.0 ** (exponent / 4) for exponent in range(-20, 9))
"""Tried penalties, in units of the mean squared length of a centered feature vector."""

SMALLEST_LEFT = 1e-12
"""Least 1 - H_ii that a residual is divided by."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps predictions and targets, (b, K) each, to one number that adds up over rows."""


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Sum of the squared differences."""
    return (predictions - targets).square().sum()


def mistakes(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the number of rows whose largest prediction is not at their largest target.

    Equal counts are ordered by the squared error, which adds less than one in all.
    """
    wrong = (predictions.argmax(dim=1) != targets.argmax(dim=1)).sum()
    return wrong + 1e-9 * squared_error(predictions, targets)


def scaled_penalties(total: float, rows: int) -> list[float]:
    """Return `PENALTIES` in the units of the squared features, ascending.

    Args:
        total: Sum of the squared lengths of the centered feature vectors.
        rows: Number of them.

    Raises:
        ArgumentError: All feature vectors are equal, or there are fewer than three.
    """
    check_rows(rows)
    if not total > 0:
        raise ArgumentError(
            "All feature vectors are equal: no classes can be separated by them.",
            hint="Is the input size right, and does the tapped map have more than one position?",
        )
    return [penalty * total / rows for penalty in PENALTIES]


def check_rows(rows: int) -> None:
    """Raise an `ArgumentError` for fewer than three rows."""
    if rows < 3:
        raise ArgumentError(f"A ridge regression needs at least 3 rows, but there are {rows}.")


def lowest_nearby(loss: Callable[[int], float], count: int, *, start: int) -> int:
    """Return the place of the lowest loss of `count`, found downhill from `start`.

    Steps of two places, then of one, until no place that near is lower; of equal ones the first
    is. On a curve that falls to one lowest place and rises from there, that is the place, from
    whatever start. On a curve with several valleys, it is the bottom of the one that is reached:
    lower than the two places on either side, perhaps not the lowest of all.
    """
    known: dict[int, tuple[float, int]] = {}

    def at(place: int) -> tuple[float, int]:
        if place not in known:
            known[place] = loss(place), place
        return known[place]

    for step in (2, 1):
        moved = True
        while moved:
            near = [p for p in (start - step, start, start + step) if 0 <= p < count]
            start, before = min(near, key=at), start
            moved = start != before
    return start
