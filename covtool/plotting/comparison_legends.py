"""The words of a comparison's picture: what looks mean, and the names of numbered rows."""

from typing import TYPE_CHECKING

from covtool.comparing.records import ComparedRow, on_approximate
from covtool.plotting.compared_rows import MOST_INTERVALS, DrawnRows
from covtool.plotting.comparison_marks import Marks, shortened
from covtool.plotting.comparison_panel import FRONT, NEAR_POINT, POINT, RECOMMENDED
from covtool.plotting.run_panels import GRAY, in_legend

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

_SMALLER = 0.6
"""Points in a legend are smaller than those of a panel by as much."""
_LONGEST_NAME = 84


def legend_of_looks(drawn: DrawnRows, marks: Marks) -> list["Line2D"]:
    """Return the lines beside the panels: heads by color, sources by shape, sizes, the front."""
    size = {"markersize": NEAR_POINT - _SMALLER}
    found = [_line("head, by color:")]
    found += [_line(name, marker="o", **size, **style) for name, style in marks.heads.items()]
    if len(marks.sources) > 1:
        found += [_line(f"{marks.sources_are}, by shape:")]
        found += [
            _line(marks.source_label(source), marker=shape, color=GRAY, **size)
            for source, shape in marks.sources.items()
        ]
    if any(row.has_interval for row in drawn.rows):
        found += [_line("large: within the noise of the best", marker="o", color=GRAY, **size)]
        smaller = POINT - _SMALLER
        found += [_line("small: worse than that", marker="o", color=GRAY, markersize=smaller)]
    else:
        of_what = "images" if drawn.rows[0].rank_1 is None else "identities"
        found += [_line(f"too few {of_what} to tell rows apart", marker="o", color=GRAY, **size)]
    if any(row.recommended for row in drawn.rows):
        found += [_line("recommended", **{**RECOMMENDED, "markersize": 9})]
    return [*found, _line("Pareto front", **{"linestyle": "-", **FRONT})]


def legend_of_names(drawn: DrawnRows, marks: Marks, caption: str = "") -> list["Line2D"]:
    """Return the lines below the panels: the names of numbered rows, then notes.

    Args:
        drawn: Rows and what of them is shown.
        marks: Styles of the rows.
        caption: What is to be known of all figures; empty for nothing.
    """
    found = [
        _line(
            _name(place, drawn.row(place)),
            **{"markersize": NEAR_POINT - _SMALLER, **marks.style(drawn.row(place))},
        )
        for place in drawn.numbered
    ]
    count = len(drawn.rows)
    rows = "1 row." if count == 1 else f"{count} rows."
    of_some = "" if count <= MOST_INTERVALS else " of the numbered rows"
    upright = f" Upright lines: intervals at 95 %{of_some}." if drawn.with_interval else ""
    aside = "Points that would cover each other, or another's interval, stand side by side."
    notes = (f"{rows}{upright}", aside, caption, on_approximate(drawn.rows), *drawn.notes)
    return found + [_line(note) for note in notes if note]


def _line(label: str, **style: object) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], label=in_legend(label), **{"linestyle": "none", **style})


def _name(place: int, row: ComparedRow) -> str:
    interval = " ({:.1f} to {:.1f})".format(*row.interval) if row.has_interval else ""
    chosen = ", recommended" if row.recommended else ""
    figure = f"{'' if row.projected_to is None else '~'}{row.figure:.1f} %"
    return f"{place}  {shortened(row.label, _LONGEST_NAME)}: {figure}{interval}{chosen}"
