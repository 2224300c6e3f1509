"""Points and their numbers in a panel, moved apart where they would cover each other."""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]
"""Left, lower, right and upper edge."""

_MOST_STEPS = 16
"""Tried places on each side of a point's own, half its size apart; after the last, it stays."""
_LEFT_FIRST = (*range(0, -_MOST_STEPS - 1, -1), *range(1, _MOST_STEPS + 1))
_EITHER_SIDE = (0, *(step for n in range(1, _MOST_STEPS + 1) for step in (-n, n)))
_DIRECTIONS = ((0, 1), (1, 0.6), (-1, 0.6), (1, -0.6), (-1, -0.6), (0, -1))
"""Places of a number around its point, the best first."""
_RINGS = (1.0, 1.7, 2.5, 3.4)
"""Distances of such places, in units of the nearest."""


def spread(
    centers: np.ndarray, lines: np.ndarray, size: float, first: Sequence[int] = ()
) -> np.ndarray:
    """Return where points stand: moved aside until none covers another, or another's line.

    Args:
        centers: Where the points belong, shape (n, 2).
        lines: Lower and upper end of an upright line through each, shape (n, 2).
        size: Width and height of a point.
        first: Points that are placed before the others, to the left where they are moved: in
            descending order, they stay in order.

    Example:
        >>> centers = np.array([[5.0, 5.0], [5.0, 6.0], [5.0, 20.0]])
        >>> spread(centers, centers[:, [1, 1]], 4.0).tolist()
        [[5.0, 5.0], [1.0, 6.0], [5.0, 20.0]]
    """
    ends = np.stack(
        [
            np.minimum(lines[:, 0], centers[:, 1] - size / 2),
            np.maximum(lines[:, 1], centers[:, 1] + size / 2),
        ],
        axis=1,
    )
    found = np.array(centers, float)
    # From below: a column of points leans to one side, then to the other, and stays narrow.
    rest = [int(point) for point in np.lexsort(centers.T) if point not in set(first)]
    placed: list[int] = []
    for point in (*first, *rest):
        others = found[placed]
        # A tolerance, since whole steps apart is apart.
        at_its_height = np.abs(others[:, 1] - found[point, 1]) < 0.999 * size
        crossing = (ends[placed, 0] < ends[point, 1]) & (ends[point, 0] < ends[placed, 1])
        for step in _LEFT_FIRST if point in first else _EITHER_SIDE:
            x = centers[point, 0] + step * size / 2
            apart = np.abs(others[:, 0] - x)
            covers = at_its_height & (apart < 0.999 * size)
            if not (covers | (crossing & (apart < 0.499 * size))).any():
                found[point, 0] = x
                break
        placed.append(point)
    return found


def place_numbers(
    centers: np.ndarray,
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    *,
    distance: float,
    within: Box,
) -> list[tuple[float, float]]:
    """Return the center of each number: beside its point, where it covers least.

    Args:
        centers: Points that get a number, shape (n, 2).
        sizes: Width and height of each number.
        taken: Boxes that numbers should not cover.
        distance: Distance of a number's center from its point, at least.
        within: Box that numbers stay in, where they can.
    """
    boxes = list(taken)
    found = []
    for center, size in zip(centers, sizes, strict=True):
        places = [
            (center[0] + ring * distance * x, center[1] + ring * distance * y)
            for ring in _RINGS
            for x, y in _DIRECTIONS
        ]
        # The first of equals: nearest, and in the best direction.
        best = min(places, key=lambda at, size=size: _cost(_around(at, size), boxes, within))
        found.append(best)
        boxes.append(_around(best, size))
    return found


def _around(at: tuple[float, float], size: tuple[float, float]) -> Box:
    (x, y), (width, height) = at, size
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _cost(box: Box, boxes: Sequence[Box], within: Box) -> float:
    """Return the covered area; what is outside of `within` counts as covered."""
    inside = _shared(box, within)
    return sum(_shared(box, other) for other in boxes) + _area(box) - inside


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
