"""The curves of training runs: the table of panels, and the columns of files they show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from covtool.errors import ArgumentError
from covtool.figure_names import figure_title
from covtool.plotting.number_columns import Columns
from covtool.plotting.run_history import RunHistory
from covtool.printable import printable
from covtool.registry import Registry
from covtool.run_files import METRICS, SUMMARY
from covtool.specs.plotting import RunPlotSpec

TREND_SHARE = 40
"""Part of its run, one in so many, that a curve is averaged over."""

_METRIC = ""
"""Placeholder of the column that the spec or the run names."""
_EVALUATED = "eval_"
_LONGEST_TITLE = 60
"""Characters of a column's name over its panel."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that every run has in a panel.

    Attributes:
        file: File that its column is in; decides whether there is a point for each update or epoch.
        column: Column of that file.
        role: Name beside the panel's other lines.
        averaged: Whether it is noisy.
    """

    file: str
    column: str
    role: str
    averaged: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A row of the table of panels.

    Attributes:
        name: Name for ``--show``.
        summary: Quantity on the vertical axis.
        lines: Lines of every run.
        logarithmic: Whether that axis is logarithmic.
    """

    name: str
    summary: str
    lines: tuple[Line, ...]
    logarithmic: bool = False

    @property
    def source(self) -> str:
        """The files that it is read from."""
        return " and ".join(dict.fromkeys(line.file for line in self.lines))


PANELS = Registry(
    "panel",
    (
        Panel(
            "loss",
            "loss (nats)",
            (
                Line(METRICS, "loss", "training", averaged=True),
                Line(SUMMARY, "eval_loss", "validation"),
            ),
        ),
        Panel("metric", "", (Line(SUMMARY, _METRIC, "validation"),)),
        Panel(
            "correlation",
            "correlation S(W) of the Eigenlayer",
            (Line(SUMMARY, "correlation", "S(W)"),),
        ),
        Panel("lr", "learning rate", (Line(METRICS, "lr", "learning rate"),)),
        Panel(
            "norm",
            "norm of the gradient",
            (
                Line(METRICS, "grad_norm", "before", averaged=True),
                Line(METRICS, "grad_norm_centralized", "after centralization", averaged=True),
            ),
            logarithmic=True,
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCurve:
    """A column of a run.

    Attributes:
        run: Position of the run.
        line: Position of the line in its panel.
        by_epoch: Whether there is a point for each epoch with a value rather than each update.
        x: Epochs done, with parts of one.
        y: Values; NaN where an update has none.
        trend: Moving average of `y`; the same where nothing is averaged.
    """

    run: int
    line: int
    by_epoch: bool
    x: np.ndarray
    y: np.ndarray
    trend: np.ndarray


def panel_curves(
    panel: Panel, histories: Sequence[RunHistory], spec: RunPlotSpec
) -> list[RunCurve]:
    """Return the curves of a panel, of all runs that have a value of them.

    Raises:
        ArgumentError: No run has the metric that `spec` asks for.
    """
    metric = metric_column(histories, spec)
    found = []
    for run, history in enumerate(histories):
        for position, line in enumerate(panel.lines):
            by_epoch = line.file == SUMMARY
            x, columns = _of_file(history, by_epoch=by_epoch)
            y = columns.get(line.column or metric)
            # A logarithm of 0 is nowhere on the axis.
            if y is None or not ((y > 0) if panel.logarithmic else ~np.isnan(y)).any():
                continue
            if by_epoch:  # not every epoch is evaluated
                known = ~np.isnan(y)
                x, y = x[known], y[known]
            window = (spec.smooth or max(1, len(x) // TREND_SHARE)) if line.averaged else 1
            curve = RunCurve(
                run=run,
                line=position,
                by_epoch=by_epoch,
                x=x,
                y=y,
                trend=moving_average(y, window),
            )
            found.append(curve)
    return found


def metric_column(histories: Sequence[RunHistory], spec: RunPlotSpec) -> str:
    """Return the column of panel ``metric``; empty where no epoch is through.

    Raises:
        ArgumentError: No run has the one that `spec` asks for.
    """
    columns = list(dict.fromkeys(name for history in histories for name in history.epochs))
    if spec.metric is not None:
        if spec.metric not in columns:
            raise ArgumentError(
                f"No run has a column {spec.metric!r} in {SUMMARY}.",
                reason=f"There are: {printable(', '.join(columns))}."
                if columns
                else "No epoch is complete.",
            )
        return spec.metric
    evaluated = [name for name in columns if name.startswith(_EVALUATED) and name != "eval_loss"]
    return evaluated[0] if evaluated else ""


def title_of(panel: Panel, metric: str) -> str:
    """Return the title of a panel: the quantity on its vertical axis."""
    return panel.summary or printable(figure_title(metric), longest=_LONGEST_TITLE)


def shared_lines(curves: Sequence[RunCurve]) -> list[tuple[int, int]]:
    """Return the place of each curve among those that run on top of each other, and their number.

    Schedules often do so, to the point: one line would hide the others.
    """
    groups: list[list[int]] = []
    for number, curve in enumerate(curves):
        found = next((group for group in groups if _coincide(curves[group[0]], curve)), None)
        if found is None:
            groups.append([number])
        else:
            found.append(number)
    places = {n: (place, len(group)) for group in groups for place, n in enumerate(group)}
    return [places[number] for number in range(len(curves))]


def _coincide(first: RunCurve, second: RunCurve) -> bool:
    if first.by_epoch or second.by_epoch or first.line != second.line:
        return False
    both = min(len(first.x), len(second.x))
    same = (np.array_equal(getattr(first, a)[:both], getattr(second, a)[:both]) for a in "xy")
    return all(same)


def undrawn_notes(
    panel: Panel, histories: Sequence[RunHistory], spec: RunPlotSpec
) -> Iterator[str]:
    """Yield sentences on the values that a panel leaves out, which the picture cannot show."""
    metric = metric_column(histories, spec)
    for history in histories:
        for line in panel.lines:
            x, columns = _of_file(history, by_epoch=line.file == SUMMARY)
            column = line.column or metric
            unknown = history.undrawn[line.file].get(column, 0)
            below = (
                int((columns[column] <= 0).sum()) if panel.logarithmic & (column in columns) else 0
            )
            for count, what in (
                (unknown, "is infinite, not a number or too large to be drawn"),
                (below, "is not above 0, as its axis is logarithmic,"),
            ):
                if count:
                    where = "updates" if line.file == METRICS else "epochs"
                    yield (
                        f"{history.label}: {printable(column)} {what} at {count:,} of {len(x):,} "
                        f"{where}."
                    )


def moving_average(y: np.ndarray, window: int) -> np.ndarray:
    """Average `window` values around each, fewer at the ends; NaN has no part in it."""
    if window == 1:
        return y
    known = ~np.isnan(y)
    # Differences of running sums: the cost does not grow with the window.
    sums = np.concatenate(([0.0], np.cumsum(np.where(known, y, 0.0))))
    counts = np.concatenate(([0], np.cumsum(known)))
    middle = np.arange(len(y))
    first = np.maximum(middle - (window - 1) // 2, 0)
    last = np.minimum(middle + window // 2 + 1, len(y))
    number = counts[last] - counts[first]
    means = (sums[last] - sums[first]) / np.maximum(number, 1)  # where none is known, NaN below
    return np.where(known, means, np.nan)


def _of_file(history: RunHistory, *, by_epoch: bool) -> tuple[np.ndarray, Columns]:
    if by_epoch:
        return history.epochs_done, history.epochs
    return history.steps_in_epochs, history.steps
