"""A picture of a learning-rate range test: losses against rates, with the suggestion."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covtool.plotting.figure_file import check_output, house_style, write_figure
from covtool.plotting.run_panels import GRAY, POINTS, run_color
from covtool.run_files.learning_rates import RatePoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE = (5.6, 3.4)
"""Width and height of the figure, in inches."""
_ABOVE = 1.6
"""Height of the axis, as a multiple of the loss of the model as it came: what explodes is cut."""


def plot_rates(
    points: Sequence[RatePoint],
    path: str | Path,
    *,
    lr: float,
    largest: float,
    overwrite: bool = False,
) -> Path:
    """Draw a range test into a file.

    Args:
        points: The model as it came, with a rate of 0, then an update each.
        path: File name that ends in ``.png``, ``.svg`` or ``.pdf``.
        lr: Suggested rate.
        largest: Largest rate before the held-out loss rises.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ArgumentError: The suffix is unknown, the folder to write to does not exist, or matplotlib
            is not installed.
        OutputExistsError: The file exists and `overwrite` is False.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    with house_style():
        figure = rates_figure(points, lr=lr, largest=largest)
        title = f"Learning-rate range test: {lr:g} is suggested"
        write_figure(figure, path, title=title, overwrite=overwrite)
    return path


def rates_figure(points: Sequence[RatePoint], *, lr: float, largest: float) -> "Figure":
    """Return the figure itself, with matplotlib's present settings."""
    from matplotlib.figure import Figure

    start, *updates = points
    rates = [point.lr for point in updates]
    figure = Figure(figsize=_SIZE)
    axes = figure.subplots()
    # A batch's loss is computed before its update: it shows what the rate before has done.
    lines = {
        "held-out images": [point.held_out_loss for point in updates],
        "the next batch": [*(_number(point.train_loss) for point in updates[1:]), math.nan],
    }
    for position, (label, losses) in enumerate(lines.items()):
        # Whole points at the edges would be points beyond the cut.
        style = {**POINTS, "clip_on": True, "markersize": 2.6}
        axes.plot(rates, losses, color=run_color(position), label=label, **style)
    axes.axhline(start.held_out_loss, color=GRAY, linewidth=0.8, label="held-out, before")
    axes.axvline(
        largest, color=GRAY, linewidth=1.0, linestyle=":", label=f"rises beyond {largest:.2g}"
    )
    axes.axvline(lr, color="black", linewidth=1.4, linestyle="--", label=f"suggestion, {lr:g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("learning rate", color=GRAY)
    axes.set_title("loss (nats)", loc="left", fontsize=9, color=GRAY)
    axes.set_ylim(0, _ABOVE * max(start.held_out_loss, min(map(_finite, updates))))
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _number(loss: float | None) -> float:
    return math.nan if loss is None else loss


def _finite(point: RatePoint) -> float:
    return point.held_out_loss if math.isfinite(point.held_out_loss) else math.inf
