"""Folds of a data set: which images are held out together, each of them once.

The fold of an image depends on the names of all images and on nothing else: neither on their order,
nor on the seed of a run, so that two runs with other settings hold the same images out.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, islice

SEED = 0
"""Seed of the assignment, the same for all runs."""


def stratified_folds(labels: Sequence[str], names: Sequence[str], folds: int) -> list[int]:
    """Return the fold of each image, counted from 1, the classes drawn evenly.

    In each class, and over all, the numbers of images in two folds differ by one at most.

    Args:
        labels: Class of each image.
        names: Name of each image; those of the same class and name are one image that is listed
            again, and are in one fold.
        folds: Number of folds.

    Example:
        >>> sorted(stratified_folds(["cat"] * 4, ["1", "2", "3", "4"], 2))
        [1, 1, 2, 2]
    """
    images = defaultdict(set)
    for label, name in zip(labels, names, strict=True):
        images[label].add(name)
    # One deal through all classes: begun anew in each, the first folds would get all the rest.
    dealt = chain.from_iterable(
        ((label, name) for name in _shuffled(images[label], label)) for label in sorted(images)
    )
    fold_of = {image: number % folds + 1 for number, image in enumerate(dealt)}
    return [fold_of[image] for image in zip(labels, names, strict=True)]


def grouped_folds(groups: Sequence[str], folds: int) -> list[int]:
    """Return the fold of each image, counted from 1, no group in two folds.

    The numbers of groups in two folds differ by one at most. Groups with many images are dealt
    first, each round of the deal beginning with the fold that has the fewest images, which brings
    the numbers of images close to each other.

    Args:
        groups: Group of each image, as its identity.
        folds: Number of folds.

    Example:
        >>> grouped_folds(["a", "b", "a", "b"], 2) in ([1, 2, 1, 2], [2, 1, 2, 1])
        True
    """
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    # Shuffled, then sorted by size: the sort keeps the order of equals.
    largest_first = iter(sorted(_shuffled(sizes, "groups"), key=lambda group: -sizes[group]))
    images, fold_of = dict.fromkeys(range(1, folds + 1), 0), {}
    while dealt := list(islice(largest_first, folds)):
        for group, fold in zip(dealt, sorted(images, key=images.__getitem__), strict=False):
            fold_of[group] = fold
            images[fold] += sizes[group]
    return [fold_of[group] for group in groups]


def _shuffled(names: Iterable[str], of: str) -> list[str]:
    """Return names in an order of their own, whatever order they come in."""
    ordered = sorted(names)
    # A generator for each class: more images of one change nothing about the order of another.
    random.Random(f"{SEED} {of}").shuffle(ordered)
    return ordered
