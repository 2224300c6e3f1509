"""A panel of a comparison: points, their intervals and numbers, and the front."""

from typing import TYPE_CHECKING, Any

import numpy as np

from covtool.plotting.compared_rows import CostAxis, DrawnRows
from covtool.plotting.comparison_marks import Marks
from covtool.plotting.point_placing import Box, place_numbers, spread
from covtool.plotting.run_panels import GRAY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINT, NEAR_POINT, RING = 4.6, 6.6, 12.0
"""Sizes of a point, of one within the noise of the best, and of the recommended one's ring."""
FRONT: dict[str, Any] = {"color": GRAY, "linewidth": 0.9}
"""Style of the front's line."""
RECOMMENDED: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": RING,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
    "markeredgewidth": 1.1,
}
"""Style of the recommended row's ring."""
_APART = NEAR_POINT + 0.8
_DIGIT = (5.2, 8.0)
"""Width and height of a digit of a number, in points."""
_NUMBER_AT = 9.5
"""Distance of a number from its point, at least, in points."""
_PER_INCH = 72.0


def draw_panel(axes: "Axes", axis: CostAxis, drawn: DrawnRows, marks: Marks) -> None:
    """Draw the rows of a panel, whose limits and layout are settled.

    Points that would cover each other are moved aside; the front is drawn at the true costs.

    Args:
        axes: Its axes.
        axis: Its cost.
        drawn: Rows and what of them is shown.
        marks: Styles of the rows.
    """
    places = drawn.places[axis]
    page = _Page(axes)
    moved = _moved(page, axis, drawn)
    front = [(axis.cost(drawn.row(p)), drawn.row(p).figure) for p in drawn.fronts[axis]]
    x, y = np.array([*front, (axes.get_xlim()[1], front[-1][1])]).T
    axes.step(x, y, where="post", zorder=2, **FRONT)
    for place, at in zip(places, page.to_data(moved), strict=True):
        _draw_row(axes, at, place, drawn, marks)
    _number(axes, page, moved, places, drawn)


class _Page:
    """Places in a panel in points of the page, 1/72 inch, as sizes of markers and letters are."""

    def __init__(self, axes: "Axes") -> None:
        self._data = axes.transData
        self._per_point = axes.figure.dpi / _PER_INCH
        self.box: Box = tuple(edge / self._per_point for edge in axes.get_window_extent().extents)

    def of_data(self, data: np.ndarray) -> np.ndarray:
        return self._data.transform(data) / self._per_point

    def to_data(self, points: np.ndarray) -> np.ndarray:
        return self._data.inverted().transform(points * self._per_point)


def _moved(page: _Page, axis: CostAxis, drawn: DrawnRows) -> np.ndarray:
    """Return where the rows' points stand."""
    places = drawn.places[axis]
    costs = np.array([axis.cost(drawn.row(place)) for place in places])
    figures = np.array([drawn.row(place).figure for place in places])
    ends = [
        drawn.row(place).interval if place in drawn.with_interval else (figure, figure)
        for place, figure in zip(places, figures, strict=True)
    ]
    low, high = (page.of_data(np.stack([costs, end], axis=1))[:, 1] for end in np.array(ends).T)
    # The best of a front keep their places; cheaper ones, which are worse, go to the left.
    first = [places.index(place) for place in reversed(drawn.fronts[axis])]
    centers = page.of_data(np.stack([costs, figures], axis=1))
    return spread(centers, np.stack([low, high], axis=1), _APART, first=first)


def _draw_row(axes: "Axes", at: np.ndarray, place: int, drawn: DrawnRows, marks: Marks) -> None:
    row, style = drawn.row(place), marks.style(drawn.row(place))
    if place in drawn.with_interval:
        axes.vlines(at[0], *row.interval, color=style["color"], linewidth=0.8, zorder=3)
    size = NEAR_POINT if row.near_best else POINT
    above = 5 if place in drawn.numbered else 4
    axes.plot(*at, linestyle="none", markersize=size, clip_on=False, zorder=above, **style)
    if row.recommended:
        axes.plot(*at, clip_on=False, zorder=above, **RECOMMENDED)


def _number(
    axes: "Axes", page: _Page, points: np.ndarray, places: list[int], drawn: DrawnRows
) -> None:
    """Write the places of the numbered rows beside their points."""
    half = [(RING if drawn.row(place).recommended else NEAR_POINT) / 2 for place in places]
    taken: list[Box] = [
        (x - r, y - r, x + r, y + r) for (x, y), r in zip(points, half, strict=True)
    ]
    numbered = [i for i, place in enumerate(places) if place in drawn.numbered]
    texts = [str(places[i]) for i in numbered]
    sizes = [(_DIGIT[0] * len(text) + 1.5, _DIGIT[1]) for text in texts]
    found = place_numbers(points[numbered], sizes, taken, distance=_NUMBER_AT, within=page.box)
    for i, text, at in zip(numbered, texts, found, strict=True):
        axes.annotate(
            text,
            page.to_data(points[i]),
            xytext=tuple(at - points[i]),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=8,
            bbox={"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none"},
            zorder=6,
        )
