"""Orders of the training images by name, each a function of the seed and the epoch."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from covtool.errors import ArgumentError
from covtool.registry import Registry
from covtool.specs import ObjectiveSpec

RUN = 1  # beside the seed: draws of the run, which are none of an epoch


class EpochOrder(Protocol):
    """The images of an epoch in order: a function of the epoch and nothing else."""

    def __len__(self) -> int:
        """Return the number of images per epoch; the same for every epoch."""

    def __call__(self, epoch: int) -> np.ndarray:
        """Return indices of the images, (len,), in an epoch counted from 0."""


class RandomOrder:
    """Every image once per epoch, in random order.

    Args:
        labels: Labels of the images.
        seed: Seed of the order, not negative.
    """

    def __init__(self, labels: Sequence[int], *, seed: int) -> None:
        self._num_images = len(labels)
        self._seed = seed

    def __len__(self) -> int:
        return self._num_images

    def __call__(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(self._num_images)


class BalancedOrder:
    """Every class equally often, as many images per epoch as there are, in random order.

    Each class has its images in a random order and goes round and round in it, from one epoch to
    the next: over any number of epochs the counts of its images differ by one at most. So do the
    counts of the classes.

    Args:
        labels: Labels of the images.
        seed: Seed of the order, not negative.
    """

    def __init__(self, labels: Sequence[int], *, seed: int) -> None:
        generator = np.random.default_rng([seed, 0, RUN])
        cycles = [generator.permutation(images) for images in images_by_class(labels)]
        generator.shuffle(cycles)
        self._sizes = np.array([len(cycle) for cycle in cycles])
        self._starts = self._sizes.cumsum() - self._sizes
        self._images = np.concatenate(cycles)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._images)

    def __call__(self, epoch: int) -> np.ndarray:
        slots = np.arange(epoch * len(self), (epoch + 1) * len(self))
        turn, cycle = np.divmod(slots, len(self._sizes))  # the classes take turns
        images = self._images[self._starts[cycle] + turn % self._sizes[cycle]]
        return np.random.default_rng([self._seed, epoch]).permutation(images)


class ClassInstanceOrder:
    """Batches of P classes with K images each, one class after the other within a batch.

    In an epoch a class comes as often as its images fill groups of K, the last group filled up
    with the first images again; a class of fewer than K images repeats them within its one group.
    Classes meet at random. What fills no batch of P different classes is left out: the groups
    too many are drawn anew in each epoch.

    Args:
        labels: Labels of the images.
        batch_size: P times K, of all processes together.
        num_instances: Images of each class, K.
        seed: Seed of the order, not negative.

    Raises:
        ArgumentError: P is less than 2, or more than there are classes.

    Source:
        Hermans, Beyer, Leibe. "In Defense of the Triplet Loss for Person Re-Identification",
        2017; filling up small classes as fast-reid's samplers do, evenly in place of at random.
    """

    def __init__(
        self, labels: Sequence[int], *, batch_size: int, num_instances: int, seed: int
    ) -> None:
        self._images = images_by_class(labels)
        self._num_classes, self._num_instances = batch_size // num_instances, num_instances
        self._seed = seed
        if not 2 <= self._num_classes <= len(self._images):
            raise _no_such_batches(batch_size, num_instances, len(self._images))
        groups = np.array([-(-len(images) // num_instances) for images in self._images])
        self._num_batches = _most_batches(groups, self._num_classes)
        self._groups = np.minimum(groups, self._num_batches)  # once in a batch at most

    def __len__(self) -> int:
        return self._num_batches * self._num_classes * self._num_instances

    def __call__(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng([self._seed, epoch])
        counts = self._without_remainder(generator)
        classes = _classes_of_batches(counts, self._num_batches, self._num_classes, generator)
        waiting = [
            np.resize(generator.permutation(images), (count, self._num_instances))
            for images, count in zip(self._images, counts, strict=True)
        ]
        taken = occurrences(classes)
        return np.concatenate([waiting[c][n] for c, n in zip(classes, taken, strict=True)])

    def _without_remainder(self, generator: np.random.Generator) -> np.ndarray:
        """Groups per class that fill the batches exactly."""
        owners = np.repeat(np.arange(len(self._groups)), self._groups)
        kept = generator.permutation(owners)[: self._num_batches * self._num_classes]
        return np.bincount(kept, minlength=len(self._groups))


@dataclass(frozen=True, slots=True)
class SamplerRow:
    """A row of the table of samplers.

    Attributes:
        name: Value of ``--sampler``.
        summary: Description in one line.
        source: Publication, or the code base that has it.
        build: Function of labels, objective, images per batch (of all processes) and seed that
            returns an order.
    """

    name: str
    summary: str
    source: str
    build: Callable[[Sequence[int], ObjectiveSpec, int, int], EpochOrder]


SAMPLERS = Registry(
    "sampler",
    (
        SamplerRow(
            "random",
            "Every image once per epoch.",
            "the usual",
            lambda labels, objective, batch_size, seed: RandomOrder(labels, seed=seed),
        ),
        SamplerRow(
            "balanced",
            "Every class equally often; images of small classes repeat.",
            "the usual oversampling, without chance in the counts",
            lambda labels, objective, batch_size, seed: BalancedOrder(labels, seed=seed),
        ),
        SamplerRow(
            "pk",
            "Batches of P classes with --num-instances K images each.",
            "Hermans, Beyer, Leibe, 2017; fast-reid",
            lambda labels, objective, batch_size, seed: ClassInstanceOrder(
                labels, batch_size=batch_size, num_instances=objective.instances, seed=seed
            ),
        ),
    ),
)


def images_by_class(labels: Sequence[int]) -> list[np.ndarray]:
    """Return indices of the images of each class that occurs, in the order of the labels."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(np.asarray(labels)[order])) + 1)


def occurrences(indices: np.ndarray) -> np.ndarray:
    """Count for each entry the equal ones before it, (len,).

    Example:
        >>> occurrences(np.array([7, 3, 7, 7])).tolist()
        [0, 0, 1, 2]
    """
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    # Before the first entry stands another value, so that the first run has a start as well.
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(starts, append=len(indices))
    before = np.empty(len(indices), dtype=np.int64)
    before[order] = np.arange(len(indices)) - np.repeat(starts, lengths)
    return before


def _no_such_batches(batch_size: int, num_instances: int, classes: int) -> ArgumentError:
    return ArgumentError(
        f"A batch of {batch_size} images, {num_instances} of each class, has "
        f"{batch_size // num_instances} classes; --sampler pk takes 2 to {classes}.",
        hint=f"Use a batch of {2 * num_instances} to {classes * num_instances} images.",
    )


def _most_batches(groups: np.ndarray, num_classes: int) -> int:
    """Return the largest number of batches of different classes that the groups fill."""

    # A class can be in each batch once, so it offers at most as many groups as there are batches.
    # With that the groups suffice up to some number of batches, and beyond it never again: bisect.
    def too_many(batches: int) -> bool:
        return np.minimum(groups, batches).sum() < num_classes * batches

    return bisect_left(range(1, groups.sum() // num_classes + 1), True, key=too_many)


def _classes_of_batches(
    counts: np.ndarray, num_batches: int, num_classes: int, generator: np.random.Generator
) -> np.ndarray:
    """Return the class of each group, batch after batch; no class twice in a batch.

    Args:
        counts: Groups of each class, at most one per batch; together they fill the batches.
        num_batches: Batches to fill.
        num_classes: Classes in each batch.
        generator: Source of randomness; classes with many groups left come sooner.
    """
    left, batches = counts.copy(), []
    for batches_left in range(num_batches, 0, -1):
        # The smallest of exponential waiting times with rates n falls to a class with probability
        # proportional to its n: a draw without replacement, weighted by the groups left.
        waits = np.full(len(left), np.inf)
        np.divide(generator.exponential(size=len(left)), left, out=waits, where=left > 0)
        waits[left == batches_left] = -1  # else its groups would outlast the batches
        chosen = np.argsort(waits)[:num_classes]
        left[chosen] -= 1
        batches.append(chosen)
    return generator.permutation(generator.permuted(batches, axis=1)).ravel()
