"""A confusion matrix as a picture, and an order in which confused classes stand together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from covtool.plotting.figure_file import short_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from covtool.ops.confusion import Confusions

NAMED = 40
"""Most classes of a matrix that is drawn: beyond, no name and no cell could be read."""
BLOCK = 12
"""Most classes of a group of confused ones: its matrix is small, with names and numbers."""
LEAST_LIKENESS = 0.02
"""Share of a class's images that are taken for another class of its group, on average."""
MOST_JOINED = 2000
"""Most classes that groups are looked for among: 32 MB of likeness."""
_WITH_NUMBERS = 16
_LONGEST_NAME = 22
_LONGEST_OF_FEW = 34


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


def confused_blocks(confusions: "Confusions") -> list[np.ndarray]:
    """Return groups of classes that are confused with each other, the most mistakes first.

    Groups are joined by average linkage, as in `confusion_order`, while a class of one is taken for
    a class of the other for `LEAST_LIKENESS` of its images or more, on average over their pairs in
    both directions, and no more than `BLOCK` classes come together. Of more than `MOST_JOINED`
    classes, those of the largest confusions are looked at.

    Args:
        confusions: Pairs of classes that occur, rightly recognized images included.

    Returns:
        Numbers of the classes of each group, two at least, each in the order of `confusion_order`.
        A class is in one group at most.
    """
    classes = _most_confused(confusions)
    if len(classes) < 2:
        return []
    counts, images = _between(confusions, classes), images_of(confusions)[classes]
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    shares = counts / np.maximum(images, 1)[:, None]
    likeness = (shares + shares.T) / 2
    np.fill_diagonal(likeness, 1)
    tree = linkage(squareform(1 - likeness, checks=False), "average")
    groups: dict[int, list[int]] = {k: [k] for k in range(len(classes))}
    for step, (one, other, distance, size) in enumerate(tree, start=len(classes)):
        # What a group that was not joined would be part of is not joined either.
        is_there = int(one) in groups and int(other) in groups
        if is_there and size <= BLOCK and 1 - distance >= LEAST_LIKENESS:
            groups[step] = groups.pop(int(one)) + groups.pop(int(other))
    blocks = [classes[sorted(group)] for group in groups.values() if len(group) > 1]
    ordered = [block[confusion_order(_between(confusions, block))] for block in blocks]
    return sorted(ordered, key=lambda block: (-mistakes_within(confusions, block), block.min()))


def mistakes_within(confusions: "Confusions", block: np.ndarray) -> int:
    """Return the images of a group's classes that are taken for another class of it."""
    inside = _between(confusions, block)
    return int(inside.sum() - np.trace(inside))


def images_of(confusions: "Confusions") -> np.ndarray:
    """Return the number of images of each class, (K,)."""
    right, images = confusions.right.numpy(), confusions.images.numpy()
    return np.bincount(right, images, minlength=confusions.num_classes).astype(np.int64)


def _between(confusions: "Confusions", classes: np.ndarray) -> np.ndarray:
    return confusions.between(torch.from_numpy(classes)).numpy()


def _most_confused(confusions: "Confusions") -> np.ndarray:
    """Return the classes that are confused with any, `MOST_JOINED` at most, in their order."""
    wrong, size = confusions.wrong, confusions.num_classes
    pairs, images = torch.cat([wrong.right, wrong.given]), wrong.images.repeat(2)
    mistakes = np.bincount(pairs.numpy(), images.numpy(), minlength=size)
    most = np.argsort(-mistakes, kind="stable")[:MOST_JOINED]
    return np.sort(most[mistakes[most] > 0])


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
    from matplotlib.ticker import MaxNLocator

    size = len(names)
    side = min(max(3.4, 1.6 + 0.3 * size), 11)
    figure = Figure(figsize=(side + 0.9, side))
    axes = figure.add_subplot()
    values = 100 * shares if is_normalized else counts
    largest = 100 if is_normalized else max(int(counts.max(initial=0)), 1)
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=largest, interpolation="nearest")
    longest = _LONGEST_OF_FEW if size <= BLOCK else _LONGEST_NAME
    labels = short_labels(names, longest)
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
    whole = MaxNLocator(nbins=6, integer=True)  # there are no halves of images
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, ticks=whole)
    bar.set_label("images of the class (%)" if is_normalized else "images")
    bar.outline.set_visible(False)
    return figure


def _font(size: int) -> float:
    return 8 if size <= _WITH_NUMBERS else 6.5
