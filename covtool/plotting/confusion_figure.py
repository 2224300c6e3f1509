"""A confusion matrix as a picture, and an order in which confused classes stand together."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from covtool.plotting.figure_file import as_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 40
"""Most classes of a matrix that is drawn: beyond, no name and no cell could be read."""
_WITH_NUMBERS = 16
_LONGEST_NAME = 22


def confusion_order(counts: np.ndarray) -> np.ndarray:
    """Return an order of classes in which those that are confused stand together.

    Classes are joined by average linkage, the likeness of two being the mean of both shares of
    confusion; leaves are ordered so that neighbors are as alike as the tree allows.

    Args:
        counts: Images of each class by the class they are taken for, (K, K).

    Source:
        Bar-Joseph, Gifford, Jaakkola. "Fast optimal leaf ordering for hierarchical clustering",
        Bioinformatics 2001.
    """
    if len(counts) < 3:
        return np.arange(len(counts))
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    shares = shares_of(counts)
    likeness = (shares + shares.T) / 2
    distances = 1 - likeness
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree)


def most_confused_classes(
    pairs: Iterable[tuple[int, int]], num_classes: int, most: int = NAMED
) -> np.ndarray:
    """Return the classes of the largest confusions, in the order of their numbers.

    Args:
        pairs: Pairs of different classes that are confused, the most images first.
        num_classes: Number of all classes.
        most: Number of classes that are not exceeded.
    """
    if num_classes <= most:
        return np.arange(num_classes)
    chosen: set[int] = set()
    for pair in pairs:
        more = chosen.union(pair)
        if len(more) > most:
            break
        chosen = more
    return np.array(sorted(chosen), int)


def shares_of(counts: np.ndarray) -> np.ndarray:
    """Return counts as shares of their row; a row of zeros stays one."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def confusion_figure(
    counts: np.ndarray, shares: np.ndarray, names: Sequence[str], *, is_normalized: bool
) -> "Figure":
    """Return the matrix as a picture, with matplotlib's present settings.

    Args:
        counts: Images by right class (rows) and given class (columns), (K, K), in the order drawn.
        shares: Shares of all images of the row's class, (K, K): they are the color.
        names: Names of the classes, (K,).
        is_normalized: Whether cells are shares in percent; otherwise numbers of images.
    """
    from matplotlib.figure import Figure

    size = len(names)
    side = min(max(3.4, 1.6 + 0.3 * size), 11)
    figure = Figure(figsize=(side + 0.9, side))
    axes = figure.add_subplot()
    values = 100 * shares if is_normalized else counts
    largest = 100 if is_normalized else max(int(counts.max(initial=0)), 1)
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=largest, interpolation="nearest")
    labels = [_short(name) for name in names]
    axes.set_xticks(range(size), labels, rotation=90, fontsize=_font(size))
    axes.set_yticks(range(size), labels, fontsize=_font(size))
    axes.set_xlabel("given class")
    axes.set_ylabel("right class")
    axes.grid(visible=False)
    if size <= _WITH_NUMBERS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            value = values[row, column]
            color = "white" if value > 0.6 * largest else "black"
            text = f"{value:.0f}" if is_normalized else f"{int(value)}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("images of the class (%)" if is_normalized else "images")
    bar.outline.set_visible(False)
    return figure


def _font(size: int) -> float:
    return 8 if size <= _WITH_NUMBERS else 6.5


def _short(name: str) -> str:
    shown = as_label(name)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 3]}..."
