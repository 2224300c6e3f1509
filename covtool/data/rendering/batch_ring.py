"""Memory that worker processes hand batches over in, used again and again.

torch's loader takes new shared memory for every batch; that its pages have to be found, cleared
and mapped can cost more than to vary the images does.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PREFETCHED = 2  # batches that a worker prepares ahead: torch's default
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Layout of a batch of images in memory.

    Attributes:
        channels: Channels of each image.
        size: Height and width.
        dtype: Type of the values.
        pixelwise: Whether the channels of a pixel are neighbors.
        device: Device of the batch; None for the CPU.
    """

    channels: int
    size: tuple[int, int]
    dtype: torch.dtype = torch.uint8
    pixelwise: bool = False
    device: torch.device | None = None

    def empty(self, *leading: int, shared: bool = False) -> Tensor:
        """Allocate memory for images, (*leading, channels, height, width).

        Args:
            *leading: Number of images, along any number of axes.
            shared: Whether other processes can reach it.
        """
        inner = (*self.size, self.channels) if self.pixelwise else (self.channels, *self.size)
        values = torch.empty((*leading, *inner), dtype=self.dtype, device=self.device)
        if shared:
            values.share_memory_()
        # A view with the usual order of axes on memory with channels last.
        return values.movedim(-1, -3) if self.pixelwise else values


@dataclass(frozen=True, slots=True)
class FilledSlot:
    """Number of the slot that holds a batch; sent between processes in place of the batch.

    Attributes:
        worker: Number of the worker.
        slot: Number of its slot.
        labels: Labels of the images.
        unreadable: Images that were replaced, in whatever form the loader has for them.
    """

    worker: int
    slot: int
    labels: list[int]
    unreadable: tuple[Any, ...] = ()


class BatchRing:
    """Slots for batches, in shared memory; each worker fills its own in turns.

    torch's loader asks a worker for a batch when one before it has been taken out, in order. So
    `PREFETCHED` of a worker's batches may be waiting while another is being read: with a slot
    more than that, none is overwritten.

    Args:
        workers: Number of worker processes.
        batch_size: Images per batch, at most.
        layout: Layout of a batch.
    """

    def __init__(self, workers: int, batch_size: int, layout: BatchLayout) -> None:
        self.slots = layout.empty(workers, PREFETCHED + 1, batch_size, shared=True)
        self._filled = 0  # each worker has its own copy of this number, of the slots none

    def next_slot(self, worker: int) -> tuple[int, Tensor]:
        """Return the slot that a worker may write to, and its number."""
        number = self._filled % (PREFETCHED + 1)
        self._filled += 1
        return number, self.slots[worker, number]

    def batch(self, filled: FilledSlot) -> tuple[Tensor, Tensor]:
        """Return images, which stay until the next batch is asked for, and labels."""
        labels = torch.tensor(filled.labels)
        return self.slots[filled.worker, filled.slot, : len(labels)], labels


def batch_ring(workers: int, batch_size: int, layout: BatchLayout) -> BatchRing | None:
    """Build a ring, where there are workers and the shared memory has room for it; else None."""
    values = workers * (PREFETCHED + 1) * batch_size * layout.channels * math.prod(layout.size)
    # Half of it at most: torch's own queues need some, and a container may have 64 MiB. Memory that
    # is not there shows only when it is written to, as a bus error that ends the process.
    if not workers or values * layout.dtype.itemsize > _free_shared_memory() // 2:
        return None
    return BatchRing(workers, batch_size, layout)


def _free_shared_memory() -> float:
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.exists() else math.inf
