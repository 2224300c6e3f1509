"""Draws of images, and random numbers that belong to an image and not to a process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch


class Draw(NamedTuple):
    """An image to be drawn, and the numbers that decide its variation.

    Attributes:
        epoch: Number of the epoch, from 0.
        index: Index of the image.
        occurrence: Earlier draws of the image in this epoch.
    """

    epoch: int
    index: int
    occurrence: int = 0

    @property
    def entropy(self) -> tuple[int, ...]:
        """Numbers for `drawing`, beside the seed; a repeated image is varied differently."""
        # Nothing for the first: where no image repeats, numbers are those without occurrences.
        return (self.epoch, self.index, *((self.occurrence,) if self.occurrence else ()))


@contextmanager
def drawing(*entropy: int) -> Iterator[None]:
    """Seed the generators of `random`, numpy and torch (CPU), and put them back afterwards.

    Args:
        *entropy: Numbers, not negative, that decide what is drawn.
    """
    with generators_kept():
        seed_generators(*entropy)
        yield


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put the generators of `random`, numpy and torch (CPU) back to what they were."""
    # Without this the order of a process's images would decide what the trainer draws next.
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.default_generator.set_state(before[2])


def seed_generators(*entropy: int) -> None:
    """Seed the generators of `random`, numpy and torch (CPU), as `drawing` does."""
    # A hash of the numbers, so that neighboring seeds and epochs give unrelated streams.
    words = np.random.SeedSequence(entropy).generate_state(3, np.uint32)
    seed, numpy_seed, torch_seed = (int(word) for word in words)
    random.seed(seed)
    np.random.seed(numpy_seed)
    torch.default_generator.manual_seed(torch_seed)
