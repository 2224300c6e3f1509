"""A data set of cached images, for training and evaluation."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from covtool.data.cache import CachedImages
from covtool.data.loading.batches import BatchPlace, Loaded
from covtool.data.rendering.batch_ring import BatchLayout, BatchRing, FilledSlot
from covtool.data.rendering.draws import Draw, generators_kept
from covtool.data.rendering.renderers import Renderer, Wanted


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

    @property
    def layout(self) -> BatchLayout:
        """Layout of the batches."""
        return self.render.layout

    def __getitem__(self, key: int | Draw) -> tuple[Tensor, int]:
        out = self.layout.empty(1)
        self._fill(out, [key])
        return out[0], self._labels([key])[0]

    # torch calls this for a whole batch, if a data set has it, and collates what it returns.
    def __getitems__(self, keys: Sequence[int | Draw]) -> Loaded | FilledSlot:
        """Return a whole batch of images and labels, or where it is in the ring."""
        place = BatchPlace.of(self.ring, self.layout, len(keys))
        self._fill(place.images, keys)
        return place.filled(self._labels(keys))

    def _fill(self, places: Tensor, keys: Sequence[int | Draw]) -> None:
        with generators_kept():  # once a batch, not an image
            self.render(self.cached.images, [self._wanted(key) for key in keys], places)

    def _wanted(self, key: int | Draw) -> Wanted:
        if isinstance(key, Draw):
            return Wanted(key.index, (self.seed, *key.entropy))
        return Wanted(key)

    def _labels(self, keys: Sequence[int | Draw]) -> list[int]:
        return [self.cached[key.index if isinstance(key, Draw) else key].label for key in keys]
