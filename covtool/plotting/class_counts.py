"""How many images each class has: bars, the largest first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import as_label, short_labels
from covtool.plotting.run_panels import run_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 40
"""Classes that are named below their bars; of more there is the shape of the curve."""

_LONGEST = 24  # characters of a name
_LETTERS = 90  # of all names, each as long as the longest, that stand side by side


def class_counts_figure(
    names: Sequence[str], counts: np.ndarray, splits: Sequence[str]
) -> "Figure":
    """Draw the number of images of each class, by split; within `house_style`.

    Args:
        names: Names of the classes.
        counts: Images by class and split, shape (classes, splits).
        splits: Names of the splits.
    """
    from matplotlib.figure import Figure

    order = np.argsort(-counts.sum(axis=1), kind="stable")
    counts, names = counts[order], [names[at] for at in order]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    places, bottom = np.arange(len(names)), np.zeros(len(names))
    for number, split in enumerate(splits):
        axes.bar(
            places,
            counts[:, number],
            bottom=bottom,
            width=1.0 if len(names) > MOST_NAMED else 0.8,
            color=run_color(number),
            label=as_label(split),
        )
        bottom = bottom + counts[:, number]
    if len(names) <= MOST_NAMED:
        shown = short_labels(names, _LONGEST)
        fit = len(names) * max(map(len, shown)) <= _LETTERS
        axes.set_xticks(places, shown, rotation=0 if fit else 90, fontsize=8)
    else:
        axes.set_xlabel(f"{len(names):,} classes, the largest first")
    axes.set_ylabel("images")
    axes.set_xlim(-0.6, len(names) - 0.4)
    if len(splits) > 1:
        figure.legend(loc="outside upper left", ncols=min(len(splits), 6))  # covers no bar
    return figure
