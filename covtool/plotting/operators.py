"""A picture of decoupled operators: magnitude over a patch's norm, activation over its angle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.plotting.figure_file import check_output, house_style, line_style, write_figure
from covtool.plotting.operator_curves import (
    RADII,
    Curve,
    angular_curves,
    magnitude_curves,
    refuse_unused,
)
from covtool.specs.plotting import OperatorPlotSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_INCHES = (4.9, 3.1)
"""Width and height of a panel with its legend."""
_INK = "#555555"
_QUARTERS = ("0", "π/4", "π/2", "3π/4", "π")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorPlotResult:
    """The picture that was drawn.

    Attributes:
        path: The file.
        magnitudes: Labels of the lines of panel h; empty without that panel.
        angular: Labels of the lines of panel g.
        radius: ρ.
    """

    path: Path
    magnitudes: tuple[str, ...]
    angular: tuple[str, ...]
    radius: float


def plot_operators(
    path: str | Path, spec: OperatorPlotSpec | None = None, *, overwrite: bool = False
) -> OperatorPlotResult:
    """Draw magnitudes h and angular activations g, a panel each, into a file.

    The same functions give the same bytes, as long as matplotlib stays the same.

    Args:
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.
        spec: Functions to draw; None for all with their defaults.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ArgumentError: A name or a suffix is unknown, a setting has no part in what is drawn, the
            folder does not exist, or matplotlib is not installed.
        OutputExistsError: The file exists and `overwrite` is False.
    """
    path, spec = Path(path), spec or OperatorPlotSpec()
    check_output(path, overwrite=overwrite)
    refuse_unused(spec)
    with house_style():
        title = "Functions of decoupled operators"
        write_figure(operator_figure(spec), path, title=title, overwrite=overwrite)
    return OperatorPlotResult(
        path=path,
        magnitudes=tuple(curve.label for curve in magnitude_curves(spec)),
        angular=tuple(curve.label for curve in angular_curves(spec)),
        radius=spec.radius,
    )


def operator_figure(spec: OperatorPlotSpec) -> "Figure":
    """Return the figure itself, with matplotlib's present settings."""
    from matplotlib.figure import Figure

    panels = [
        (magnitude_curves(spec), _finish_magnitudes),
        (angular_curves(spec), _finish_angular),
    ]
    shown = [(curves, finish) for curves, finish in panels if curves]
    width, height = _INCHES
    figure = Figure(figsize=(width * len(shown), height))
    for column, (curves, finish) in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), column)
        _draw(axes, curves)
        finish(axes, spec)
    return figure


def _draw(axes: "Axes", curves: Sequence[Curve]) -> None:
    for curve in curves:
        axes.plot(curve.x.numpy(), curve.y.numpy(), label=curve.label, **line_style(curve.position))
    # The legend lists lines from top to bottom, as they end beside it.
    as_they_end = sorted(axes.lines, key=lambda line: -round(float(line.get_ydata()[-1]), 6))
    axes.legend(handles=as_they_end, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _finish_magnitudes(axes: "Axes", spec: OperatorPlotSpec) -> None:
    axes.set_xlabel("norm of the patch ‖x‖ (units of x)")
    axes.set_ylabel("magnitude h(‖x‖) / α")
    axes.set_xlim(0, RADII * spec.radius)
    axes.set_ylim(bottom=0)
    for line in list(axes.lines):
        if line.get_ydata()[0] > 0.01:  # a patch of norm 0 gives 0: the line begins with a jump
            _mark_open_end(axes, line)
    axes.axvline(spec.radius, color=_INK, linewidth=0.7, zorder=1)
    axes.annotate(
        f"ρ = {spec.radius:g}",
        (spec.radius, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -2),
        textcoords="offset points",
        va="top",
        color=_INK,
        fontsize=8.5,
    )


def _finish_angular(axes: "Axes", spec: OperatorPlotSpec) -> None:
    axes.set_xlabel("angle θ between patch and filter (rad)")
    axes.set_ylabel("angular activation g(θ)")
    axes.set_xlim(0, math.pi)
    axes.set_xticks([math.pi * quarter / 4 for quarter in range(5)], _QUARTERS)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))


def _mark_open_end(axes: "Axes", line: "Line2D") -> None:
    axes.plot(
        0,
        line.get_ydata()[0],
        marker="o",
        markersize=5,
        markerfacecolor="white",
        markeredgecolor=line.get_color(),
        markeredgewidth=1.2,
        clip_on=False,
        zorder=5,
    )
