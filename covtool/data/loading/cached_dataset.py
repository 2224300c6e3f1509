"""A data set of cached images, for training and evaluation."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from covtool.data.cache import CachedImages
from covtool.data.rendering.batch_ring import BatchRing, FilledSlot
from covtool.data.rendering.draws import Draw, generators_kept
from covtool.data.rendering.renderers import Renderer, Wanted

CachedBatch = tuple[Tensor, Tensor] | FilledSlot
"""Images and labels, or where they are in the ring."""


class CachedDataset(Dataset[tuple[Tensor, int]]):
    """Cached images as tensors, with their labels; indexed like `ImageDataset`.

    Args:
        cached: The images, in memory that this process can read.
        render: Function that fills a batch with network inputs.
        seed: Seed of every draw, not negative.
        ring: Memory through which workers hand batches over; None for torch's way.
    """

    def __init__(
        self,
        cached: CachedImages,
        render: Renderer,
        *,
        seed: int = 0,
        ring: BatchRing | None = None,
    ) -> None:
        self.cached = cached
        self.render = render
        self.seed = seed
        self.ring = ring

    def __len__(self) -> int:
        return len(self.cached)

    def __getitem__(self, key: int | Draw) -> tuple[Tensor, int]:
        images, labels = self._batch([key])
        return images[0], int(labels[0])

    # torch calls this for a whole batch, if a data set has it, and collates what it returns.
    def __getitems__(self, keys: Sequence[int | Draw]) -> CachedBatch:
        """Return a whole batch of images and labels, or where it is in the ring."""
        worker = get_worker_info()
        if self.ring is None or worker is None:
            return self._batch(keys)
        number, slot = self.ring.next_slot(worker.id)
        self._fill(slot[: len(keys)], keys)
        return FilledSlot(worker.id, number, self._labels(keys))

    def _batch(self, keys: Sequence[int | Draw]) -> tuple[Tensor, Tensor]:
        images = self.render.layout.empty(len(keys))
        self._fill(images, keys)
        return images, torch.tensor(self._labels(keys))

    def _fill(self, places: Tensor, keys: Sequence[int | Draw]) -> None:
        with generators_kept():  # once a batch, not an image
            self.render(self.cached.images, [self._wanted(key) for key in keys], places)

    def _wanted(self, key: int | Draw) -> Wanted:
        if isinstance(key, Draw):
            return Wanted(key.index, (self.seed, *key.entropy))
        return Wanted(key)

    def _labels(self, keys: Sequence[int | Draw]) -> list[int]:
        return [self.cached[key.index if isinstance(key, Draw) else key].label for key in keys]
