"""Batches on their way to the trainer: the place that each is filled in, and its labels."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from covtool.data.rendering.batch_ring import BatchLayout, BatchRing, FilledSlot


class Unreadable(NamedTuple):
    """An image file, and why it cannot be read."""

    path: str
    reason: str


class Loaded(NamedTuple):
    """A batch, and the images that are not in it.

    Attributes:
        images: (B, channels, height, width); None where no image of the batch can be read.
        labels: Labels of the images, (B,).
        unreadable: Images that were replaced or left out.
    """

    images: Tensor | None
    labels: Tensor | None
    unreadable: tuple[Unreadable, ...] = ()


class BatchPlace(NamedTuple):
    """Place for the images of a batch.

    Attributes:
        images: (B, channels, height, width), to be filled.
        worker: Number of the worker whose slot it is; None for memory of its own.
        slot: Number of the slot.
    """

    images: Tensor
    worker: int | None = None
    slot: int = 0

    @classmethod
    def of(cls, ring: BatchRing | None, layout: BatchLayout, count: int) -> "BatchPlace":
        """Return a place: in the ring, where there is one and this is a worker."""
        worker = get_worker_info()
        if ring is None or worker is None:
            return cls(layout.empty(count))
        number, slot = ring.next_slot(worker.id)
        return cls(slot[:count], worker.id, number)

    def filled(
        self, labels: Sequence[int], unreadable: tuple[Unreadable, ...] = ()
    ) -> Loaded | FilledSlot:
        """Return the batch, or where it is in the ring.

        Args:
            labels: Labels of the images.
            unreadable: Images that were replaced.
        """
        if self.worker is None:
            return Loaded(self.images, torch.tensor(labels), unreadable)
        return FilledSlot(self.worker, self.slot, list(labels), unreadable)
