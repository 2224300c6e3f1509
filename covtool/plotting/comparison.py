"""A picture of a comparison: accuracy against cost, with intervals and the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.comparing.records import Comparison
from covtool.data.datasets.found_images import counted
from covtool.plotting.compared_rows import CostAxis, DrawnRows
from covtool.plotting.comparison_legends import legend_of_looks, legend_of_names
from covtool.plotting.comparison_marks import Marks
from covtool.plotting.comparison_panel import draw_panel
from covtool.plotting.figure_file import check_output, house_style, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_PANEL = (4.4, 3.6)
"""Width and height of a panel, in inches."""
_LETTER, _BESIDE = 0.068, 0.55
"""Width of a letter of a legend, and of what stands before a line of it, in inches."""
_LINE, _AROUND = 0.172, 0.3
"""Height of a line of a legend, and of the room around the lines, in inches."""
_MARGIN = 0.07
"""Room on each side of the values, as a share of their range."""
_NARROW = 0.01
"""Least room beside the costs, as a share of the largest: equal costs fill no panel."""
_WIDE = 4.0
"""Ratio of the largest cost to the smallest from which on the axis is logarithmic."""
_LEGEND = {"handlelength": 1.4, "fontsize": 8, "borderaxespad": 0.4}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlotResult:
    """The picture that was drawn.

    Attributes:
        path: The file.
        panels: Units of its panels' costs.
        numbered: Labels of the rows that are named in it, by their places in the comparison.
        notes: Sentences on what could not be drawn.
    """

    path: Path
    panels: tuple[str, ...]
    numbered: dict[int, str]
    notes: tuple[str, ...]


def plot_comparison(
    comparison: Comparison, path: str | Path, *, overwrite: bool = False
) -> ComparisonPlotResult:
    """Draw the rows of a comparison, a panel for each cost that is known, into a file.

    The best row, the recommended one and those of the Pareto front have their place in the
    comparison as a number, and their names below. The same rows give the same bytes, as long as
    matplotlib stays the same.

    Args:
        comparison: Rows, the best first.
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ArgumentError: The suffix is unknown, the folder does not exist, or matplotlib is not
            installed.
        DataError: No row has a figure and a cost.
        OutputExistsError: The file exists and `overwrite` is False.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    drawn = DrawnRows.of(comparison.rows)
    with house_style():
        title = f"{comparison.metric} against cost: {comparison.data}"
        figure = comparison_figure(drawn, comparison.metric, _caption(comparison))
        write_figure(figure, path, title=title, overwrite=overwrite)
    return ComparisonPlotResult(
        path=path,
        panels=tuple(axis.name for axis in drawn.places),
        numbered={place: drawn.row(place).label for place in drawn.numbered},
        notes=drawn.notes,
    )


def comparison_figure(drawn: DrawnRows, metric: str, caption: str = "") -> "Figure":
    """Return the figure itself, with matplotlib's present settings.

    Args:
        drawn: Rows and what of them is shown.
        metric: Name of their figure, which is in percent.
        caption: What is to be known of all figures; empty for nothing.
    """
    from matplotlib.figure import Figure

    marks = Marks.of(drawn.rows)
    beside, below = legend_of_looks(drawn, marks), legend_of_names(drawn, marks, caption)
    width = max(_PANEL[0] * len(drawn.places) + _width(beside), _width(below))
    height = max(_PANEL[1], _LINE * len(beside) + _AROUND) + _LINE * len(below) + _AROUND
    figure = Figure(figsize=(width, height))
    panels = figure.subplots(1, len(drawn.places), sharey=True, squeeze=False)[0]
    for axes, (axis, places) in zip(panels, drawn.places.items(), strict=True):
        _scale_costs(axes, axis, [axis.cost(drawn.row(place)) for place in places])
    _scale_figures(panels[0], drawn)
    panels[0].set_ylabel(f"{metric} (%)")
    figure.legend(handles=beside, loc="outside right upper", **_LEGEND)
    figure.legend(handles=below, loc="outside lower left", **_LEGEND)
    # The layout is settled first: points and numbers then find their places in print.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, axis in zip(panels, drawn.places, strict=True):
        draw_panel(axes, axis, drawn, marks)
    return figure


def _caption(comparison: Comparison) -> str:
    """Return how many images are searched for, and in how many; nothing for classification."""
    if comparison.queries is None:
        return ""
    queries, images = counted(comparison.queries, "query"), counted(comparison.images, "image")
    return f"Figures of {queries} in {images}."


def _width(lines: Sequence["Line2D"]) -> float:
    """Return the width of a legend of such lines, in inches, at most."""
    return _BESIDE + _LETTER * max(len(str(line.get_label())) for line in lines)


def _scale_costs(axes: "Axes", axis: CostAxis, costs: Sequence[float]) -> None:
    axes.set_xlabel(axis.summary)
    low, high = min(costs), max(costs)
    if high > _WIDE * low:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes.set_xscale("log")
        steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_minor_formatter(NullFormatter())
        room = (high / low) ** _MARGIN
        axes.set_xlim(low / room, high * room)
    else:
        room = max(_MARGIN * (high - low), _NARROW * high)
        axes.set_xlim(low - room, high + room)
        axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter("{x:g}")


def _scale_figures(axes: "Axes", drawn: DrawnRows) -> None:
    places = {place for found in drawn.places.values() for place in found}
    ends = [drawn.row(place).figure for place in places]
    ends += [end for place in drawn.with_interval for end in drawn.row(place).interval]
    room = max(_MARGIN * (max(ends) - min(ends)), 0.5)
    axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.locator_params(axis="y", nbins=8)
    axes.yaxis.set_major_formatter("{x:g}")
