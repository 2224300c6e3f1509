"""A picture of training runs: loss, metric, learning rate and gradient over the epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covtool.errors import ArgumentError, DataError
from covtool.plotting.figure_file import check_output, house_style, write_figure
from covtool.plotting.run_curves import (
    PANELS,
    Panel,
    RunCurve,
    metric_column,
    panel_curves,
    shared_lines,
    title_of,
    undrawn_notes,
)
from covtool.plotting.run_history import RunHistory, read_runs
from covtool.plotting.run_panels import GRAY, POINTS, finish_panel, name_runs, run_color
from covtool.run_files import runs_of
from covtool.specs.plotting import RunPlotSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

BEST = "best-epoch"
"""Name of the rings around the best epochs, in SVG files as well."""

_INCHES = (4.7, 2.9)
"""Width and height of a panel."""
_COLUMNS = 2
_MARKED = 60
"""Epochs of a line up to which each is marked: more marks would hide the line."""
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.6)))  # of the lines of a panel
_WIDTH = 1.6
_STRIPE = 6.0
"""Length of a piece of a line that several runs share, in widths of the line."""
_POINTS = 2000
"""Most points of a line before it is averaged: more would only make the file bigger."""
_MOST_POINTS = 100_000
"""Most points of any line: more than pixels in a row, and matplotlib scans them many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRun:
    """A run in the picture.

    Attributes:
        label: Name in the picture.
        path: Folder.
        updates: Updates done.
        epochs: Epochs done.
        metric: Column that panel ``metric`` shows; empty where no epoch is through.
        last: The metric after the last epoch; None where there is none.
    """

    label: str
    path: Path
    updates: int
    epochs: int
    metric: str
    last: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlotResult:
    """The picture that was drawn.

    Attributes:
        path: The file.
        panels: Names of its panels.
        runs: Runs in the order given.
        notes: Sentences on the values that could not be drawn.
    """

    path: Path
    panels: tuple[str, ...]
    runs: tuple[DrawnRun, ...]
    notes: tuple[str, ...] = ()


def plot_runs(
    runs: Sequence[str | Path],
    path: str | Path,
    spec: RunPlotSpec | None = None,
    *,
    overwrite: bool = False,
) -> RunPlotResult:
    """Draw the curves of one run or of several, a panel for each kind, into a file.

    A run that is still going may be drawn as well.

    Args:
        runs: Folders of runs; one of several, as ``--seeds`` makes it, stands for those in it.
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.
        spec: Panels and lines to draw; None for all that there are.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ArgumentError: No run is given, a name, a column or a suffix is unknown, no run has what a
            panel shows, the folder to write to does not exist, or matplotlib is not installed.
        DataError: A folder is not a run, holds a damaged file, or nothing that can be drawn.
        OutputExistsError: The file exists and `overwrite` is False.
    """
    path, spec, folders = Path(path), spec or RunPlotSpec(), runs_of(map(Path, runs))
    check_output(path, overwrite=overwrite)
    histories = read_runs(folders, spec.labels)
    panels = _panels(histories, spec)
    with house_style():
        figure = run_figure(histories, panels, spec)
        title = f"Runs: {', '.join(h.label for h in histories)}"
        write_figure(figure, path, title=title, overwrite=overwrite)
    drawn = tuple(_drawn(history, metric_column(histories, spec)) for history in histories)
    return RunPlotResult(
        path=path,
        panels=tuple(p.name for p in panels),
        runs=drawn,
        notes=notes_on_runs(histories, spec),
    )


def run_figure(
    histories: Sequence[RunHistory], panels: dict[Panel, list[RunCurve]], spec: RunPlotSpec
) -> "Figure":
    """Return the figure itself, with matplotlib's present settings."""
    from matplotlib.figure import Figure

    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    width, height = _INCHES
    figure = Figure(figsize=(width * columns, height * rows))
    metric = metric_column(histories, spec)
    for number, (panel, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        for curve, stripe in zip(curves, shared_lines(curves), strict=True):
            _draw(axes, curve, stripe, several=len(histories) > 1)
            _mark_best(axes, curve, histories[curve.run], several=len(histories) > 1)
        _finish(axes, panel, curves, title_of(panel, metric), histories)
        if number > len(panels) - columns:  # nothing is below it
            axes.set_xlabel(_epochs_label(histories))
    name_runs(figure, [history.label for history in histories])
    return figure


def _panels(histories: Sequence[RunHistory], spec: RunPlotSpec) -> dict[Panel, list[RunCurve]]:
    """Return each panel with its curves; those that no run has anything of are left out."""
    asked = _asked(spec)
    found = {panel: panel_curves(panel, histories, spec) for panel in asked or PANELS}
    for panel in asked:
        if not found[panel]:
            cause = " ".join(undrawn_notes(panel, histories, spec))
            raise ArgumentError(
                f"No run has anything to show in the panel {panel.name!r}.",
                reason=cause or f"It is read from {panel.source}.",
            )
    shown = {panel: curves for panel, curves in found.items() if curves}
    if not shown:
        raise DataError(
            "No run has anything that can be drawn.",
            reason=" ".join(notes_on_runs(histories, spec))
            or "Their files have none of its columns.",
        )
    return shown


def _asked(spec: RunPlotSpec) -> list[Panel]:
    return [PANELS[name] for name in dict.fromkeys(spec.show)]


def notes_on_runs(histories: Sequence[RunHistory], spec: RunPlotSpec) -> tuple[str, ...]:
    """Return sentences on the values that the picture leaves out."""
    panels = _asked(spec) or PANELS
    return tuple(note for panel in panels for note in undrawn_notes(panel, histories, spec))


def _epochs_label(histories: Sequence[RunHistory]) -> str:
    counts = {history.updates_per_epoch for history in histories}
    count = counts.pop() if len(counts) == 1 else None
    if count is None:
        return "epochs"
    return f"epochs (of {count:,} {'update' if count == 1 else 'updates'})"


def _mark_best(axes: "Axes", curve: RunCurve, history: RunHistory, *, several: bool) -> None:
    """Draw a ring around the point of the epoch whose model is the best one."""
    at = curve.x == history.best_epoch if curve.by_epoch else np.array([False])
    if at.any():
        axes.plot(
            *(curve.x[at], curve.y[at]),
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgewidth=1.4,
            linestyle="none",
            color=_color(curve, several=several),
            clip_on=False,
            zorder=5,
            gid=BEST,
        )


def _draw(axes: "Axes", curve: RunCurve, stripe: tuple[int, int], *, several: bool) -> None:
    style: dict[str, Any] = {"color": _color(curve, several=several)}
    if curve.by_epoch:
        marks = POINTS if len(curve.x) <= _MARKED else {**POINTS, "marker": ""}
        axes.plot(curve.x, curve.y, linestyle=_DASHES[curve.line], **marks, **style)
        return
    if curve.trend is not curve.y:
        noisy = _thinned(curve.x, curve.y, most=_POINTS)
        axes.plot(*noisy, linewidth=0.6, alpha=0.22, zorder=2, **style)
    place, sharing = stripe
    dashes = _DASHES[curve.line]
    if sharing > 1:  # a piece of each in turn, or the last run would hide the others
        dashes = (place * _STRIPE, (_STRIPE, (sharing - 1) * _STRIPE))
    smooth = _thinned(curve.x, curve.trend, most=_MOST_POINTS)
    axes.plot(*smooth, linestyle=dashes, linewidth=_WIDTH, zorder=3, **style)


def _color(curve: RunCurve, *, several: bool) -> str:
    return run_color(curve.run if several else curve.line)


def _thinned(x: np.ndarray, y: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every n-th point, so that there are not more than a picture can show."""
    step = -(-len(x) // most)
    return x[::step], y[::step]


def _finish(
    axes: "Axes",
    panel: Panel,
    curves: Sequence[RunCurve],
    title: str,
    histories: Sequence[RunHistory],
) -> None:
    finish_panel(axes, title, logarithmic=panel.logarithmic)
    last = max(history.steps_in_epochs[-1] for history in histories)
    axes.set_xlim(0, max(last, *(curve.x[-1] for curve in curves if len(curve.x))))
    axes.locator_params(axis="x", integer=bool(last >= 1))
    several = len(histories) > 1
    drawn = sorted({curve.line for curve in curves})
    # One line needs no name: the title says it.
    handles = [_key(panel, curves, line, several=several) for line in drawn if len(drawn) > 1]
    if rings := [line for line in axes.lines if line.get_gid() == BEST]:
        handles.append(_best_key(GRAY if several else rings[0].get_color()))
    if handles:  # beside the title: inside, it would lie on the lines of some run
        axes.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=len(handles),
            borderaxespad=0,
            columnspacing=1.2,
            handlelength=2.4,
            handletextpad=0.5,
        )


def _best_key(color: Any) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D(
        *([], []),
        color=color,
        marker="o",
        markersize=8,
        markerfacecolor="none",
        markeredgewidth=1.4,
        linestyle="none",
        label="best epoch",
    )


def _key(panel: Panel, curves: Sequence[RunCurve], line: int, *, several: bool) -> "Line2D":
    """Return the legend's sample of a line of the panel, whichever run it is of."""
    from matplotlib.lines import Line2D

    example = next(curve for curve in curves if curve.line == line)
    return Line2D(
        *([], []),
        color=GRAY if several else _color(example, several=False),
        linestyle=_DASHES[line],
        marker="o" if example.by_epoch else "",
        markersize=3.5,
        linewidth=_WIDTH,
        label=panel.lines[line].role,
    )


def _drawn(history: RunHistory, metric: str) -> DrawnRun:
    values = history.epochs.get(metric, np.array([]))
    known = values[~np.isnan(values)]  # the last epoch may not have been evaluated
    return DrawnRun(
        label=history.label,
        path=history.path,
        updates=int(history.updates[-1]),
        # Row -1 is the model as it came, no epoch.
        epochs=int((history.epochs.get("epoch", np.array([])) >= 0).sum()),
        metric=metric,
        last=float(known[-1]) if len(known) else None,
    )
