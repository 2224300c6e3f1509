"""Batches of an order of images, and each process's part of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from covtool.data.loading.samplers import EpochOrder, occurrences
from covtool.data.rendering.draws import Draw


@dataclass(frozen=True, slots=True)
class Shard:
    """Position of this process among several; each works on its part of every batch."""

    rank: int = 0
    world: int = 1


class BatchSampler(Sampler[list[Draw]]):
    """Cuts an epoch's order into batches, from any batch on; of each, this process's part.

    Args:
        order: Order of the images in each epoch.
        batch_size: Images per batch of all processes together.
        shard: Position of this process. The parts of a batch are contiguous and equal, up to one.
        drop_last: Whether an incomplete last batch is left out, where there is a complete one.
    """

    def __init__(
        self,
        order: EpochOrder,
        *,
        batch_size: int,
        shard: Shard | None = None,
        drop_last: bool = True,
    ) -> None:
        self.order = order
        self.global_batch_size = batch_size
        self.shard = shard or Shard()
        self._drop_last = drop_last and len(order) >= batch_size
        self._epoch, self._start = 0, 0

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the epoch, from 0, of the next iteration, and the batch that it starts with."""
        self._epoch, self._start = epoch, start

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, indices = self._epoch, self.order(self._epoch)
        # Counted over the whole epoch, not the part of this process: a resumed run with another
        # number of processes varies a repeated image in the same way.
        draws = np.stack([indices, occurrences(indices)], axis=1)
        for number in range(self._start, len(self)):
            at = number * self.global_batch_size
            batch = draws[at : at + self.global_batch_size]
            part = np.array_split(batch, self.shard.world)[self.shard.rank]
            yield [Draw(epoch, index, occurrence) for index, occurrence in part.tolist()]

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        whole, rest = divmod(len(self.order), self.global_batch_size)
        return whole + (rest > 0 and not self._drop_last)
