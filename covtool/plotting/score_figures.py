"""Pictures of how sure a classifier is, and how often it is right then."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import color

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 15
"""Bins of equal width, as the calibration error has them."""
_COLORS = (4, 5, 3)
_POINTS = 400
"""Points of a curve: more would only make the file bigger."""

Scored = tuple[np.ndarray, np.ndarray]
"""Probability of the given class, (N,), and whether it is right, (N,)."""


def reliability_figure(answers: Mapping[str, Scored]) -> "Figure":
    """Draw how often answers are right over how sure they are, a line for each entry."""
    figure, axes = _panel()
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=1, linestyle=(0, (4, 3)))
    for position, (name, (probability, is_right)) in enumerate(answers.items()):
        sure, right, images = reliability_bins(probability, is_right)
        style = {"color": color(_COLORS[position % len(_COLORS)]), "label": name}
        axes.plot(100 * sure, 100 * right, linewidth=1.4, zorder=3, clip_on=False, **style)
        sizes = 8 + 90 * images / max(images.max(initial=1), 1)
        axes.scatter(
            100 * sure, 100 * right, s=sizes, color=style["color"], zorder=4, clip_on=False
        )
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="probability of the given class (%)")
    axes.set_ylabel("right (%)")
    axes.set_aspect("equal")
    _name(figure, answers)
    return figure


def reliability_bins(
    probability: np.ndarray, is_right: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean probability, share that is right, and images of each bin that holds any."""
    edges = np.arange(1, BINS) / BINS
    places = np.searchsorted(edges, probability, side="left")
    images = np.bincount(places, minlength=BINS)
    there = images > 0
    sums = (np.bincount(places, w, minlength=BINS)[there] for w in (probability, is_right))
    sure, right = (total / images[there] for total in sums)
    return sure, right, images[there]


def coverage_figure(answers: Mapping[str, Scored]) -> "Figure":
    """Draw the accuracy of the surest answers over the share of images that get an answer."""
    figure, axes = _panel()
    for position, (name, (probability, is_right)) in enumerate(answers.items()):
        coverage, accuracy = coverage_curve(probability, is_right)
        keep = np.unique(np.linspace(0, len(coverage) - 1, _POINTS).round().astype(int))
        style = {"color": color(_COLORS[position % len(_COLORS)]), "label": name}
        axes.plot(100 * coverage[keep], 100 * accuracy[keep], linewidth=1.6, **style)
    axes.set(xlim=(0, 100), xlabel="images that get an answer, the surest first (%)")
    axes.set_ylabel("right among them (%)")
    axes.set_ylim(top=100.5)
    _name(figure, answers)
    return figure


def coverage_curve(probability: np.ndarray, is_right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of images, and the accuracy on as many of the surest, (N,) each.

    Images of one probability come and go together: each has the accuracy with all of them.
    """
    order = np.argsort(-probability, kind="stable")
    counts = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(is_right[order]) / counts
    ordered = probability[order]
    last = np.searchsorted(-ordered, -ordered, side="right") - 1
    return counts / len(order), accuracy[last]


def score_figure(answers: Mapping[str, Scored]) -> "Figure":
    """Draw how many right and wrong answers there are by their probability, a panel an entry."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.6 * len(answers), 3))
    panels = figure.subplots(1, len(answers), sharey=True, squeeze=False)[0]
    edges = np.linspace(0, 100, 2 * BINS + 1)
    for axes, (name, (probability, is_right)) in zip(panels, answers.items(), strict=True):
        is_right = is_right.astype(bool)
        parts = [100 * probability[is_right], 100 * probability[~is_right]]
        colors = [color(3), color(5)]
        axes.hist(parts, edges, stacked=True, color=colors, label=["right", "wrong"])
        axes.set(xlim=(0, 100), xlabel="probability of the given class (%)")
        if len(answers) > 1:
            axes.set_title(name, loc="left", fontsize=9)
    panels[0].set_ylabel("images")
    panels[0].yaxis.set_major_locator(MaxNLocator(integer=True))  # there are no halves of images
    panels[0].legend(loc="upper left")
    return figure


def _panel() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4))
    return figure, figure.add_subplot()


def _name(figure: "Figure", answers: Mapping[str, Scored]) -> None:
    if len(answers) > 1:  # above the axes, where no curve is
        figure.legend(loc="outside upper center", ncols=len(answers))
