"""The order of training images, and random numbers that belong to an image, not to a process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """An image to be drawn: its index, and the epoch, which decides how it is varied."""

    epoch: int
    index: int


class ShuffledSampler(Sampler[Draw]):
    """Every image once per epoch, in an order that follows from the seed and the epoch.

    Args:
        num_images: How many there are.
        seed: Not negative.
    """

    def __init__(self, num_images: int, *, seed: int) -> None:
        self.num_images = num_images
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_images)
        return (Draw(self.epoch, int(index)) for index in order)

    def __len__(self) -> int:
        return self.num_images


@contextmanager
def drawing(*entropy: int) -> Iterator[None]:
    """Seed the generators of `random`, numpy and torch (CPU), and put them back afterwards.

    Args:
        *entropy: Numbers, not negative, that decide what is drawn.
    """
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    words = np.random.SeedSequence(entropy).generate_state(3, np.uint32)
    seed, numpy_seed, torch_seed = (int(word) for word in words)
    random.seed(seed)
    np.random.seed(numpy_seed)
    torch.default_generator.manual_seed(torch_seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.default_generator.set_state(before[2])
