"""Two histograms in one panel: how far apart the values of two kinds lie."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = (3, 5)
_MARK = "#444444"


def compared_histograms(
    counts: Mapping[str, Sequence[int]],
    edges: Sequence[float],
    *,
    threshold: tuple[str, float] | None,
    xlabel: str,
    ylabel: str,
) -> "Figure":
    """Draw two histograms over each other, each as shares of its number.

    Args:
        counts: Numbers of the values between two edges, by the name of the kind; two kinds.
        edges: The edges, one more than there are numbers.
        threshold: Name and place of a dashed line; None for none.
        xlabel: What the values are.
        ylabel: What the shares are of.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4))
    axes = figure.add_subplot()
    for place, (name, numbers) in zip(_COLORS, counts.items(), strict=True):
        shares = 100 * np.array(numbers) / max(sum(numbers), 1)
        axes.stairs(shares, edges, fill=True, color=color(place), alpha=0.35)
        axes.stairs(shares, edges, color=color(place), linewidth=1.4, label=name)
    if threshold is not None:
        name, at = threshold
        axes.axvline(at, label=name, color=_MARK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel=xlabel, ylim=(0, None))
    axes.set_ylabel(ylabel)
    # Three names beside each other, the longest threshold among them.
    figure.legend(loc="outside upper center", ncols=3, handlelength=1.3, columnspacing=1.1)
    return figure
