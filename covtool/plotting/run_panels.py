"""The look of panels of runs: colors, points, axes, names."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from covtool.plotting.figure_file import as_label, color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRAY = "#555555"
POINTS: dict[str, Any] = {
    "marker": "o",
    "markersize": 3.5,
    "linewidth": 1.2,
    "zorder": 4,
    "clip_on": False,  # whole ones on the edges
}
"""Style of a line that has few points, each of which counts."""

_COLORS = (4, 5, 3, 6, 1, 2, 0)
"""Positions of the runs' colors, or of a single run's lines: blue and vermilion first."""
_LETTERS_PER_INCH = 12.3
"""Letters of the runs' names that fit beside each other."""
_LINE_LETTERS = 10
"""Letters that would fit in place of the line that a legend shows before a name."""


def run_color(position: int) -> str:
    """Return the color of a run among several, or of a line of a single one."""
    return color(_COLORS[position % len(_COLORS)])


def finish_panel(axes: "Axes", title: str, *, logarithmic: bool) -> None:
    """Give a panel its title and its vertical axis."""
    axes.set_title(as_label(title), loc="left", fontsize=9, color=GRAY)
    if logarithmic:
        _scale_by_decades(axes)
    else:
        axes.locator_params(axis="y", nbins=6)
    axes.yaxis.set_major_formatter("{x:g}")


def name_runs(figure: "Figure", labels: Sequence[str]) -> None:
    """Name a single run at the top of its figure, or several with their colors."""
    from matplotlib.lines import Line2D

    labels = list(map(as_label, labels))
    if len(labels) == 1:
        figure.suptitle(labels[0], fontsize=9.5, x=0.01, ha="left")
        return
    handles = [
        Line2D([], [], color=run_color(run), linewidth=2.4, label=in_legend(label))
        for run, label in enumerate(labels)
    ]
    longest = max(map(len, labels)) + _LINE_LETTERS
    ncols = max(1, min(len(handles), int(_LETTERS_PER_INCH * figure.get_figwidth() / longest)))
    figure.legend(handles=handles, loc="outside upper left", ncols=ncols)


def in_legend(label: str) -> str:
    """Return a name that a legend shows: matplotlib leaves out those with an underscore first."""
    return f" {label}" if label.startswith("_") else label


def _scale_by_decades(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_formatter(NullFormatter())
