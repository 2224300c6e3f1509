"""Images that have become unreadable since a run started: errors, or others in their place."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from covtool.data.datasets.checking import OnBadImage
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.samples import Sample
from covtool.data.loading.cached_dataset import CachedBatch, CachedDataset
from covtool.data.rendering.batch_ring import FilledSlot
from covtool.data.rendering.draws import Draw
from covtool.errors import DataError

ATTEMPTS = 20  # images tried in place of one; if all fail, the data set itself is gone

Item = tuple[Tensor, int]


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
    unreadable: tuple[Unreadable, ...]


class Images(Protocol):
    """Data set that `Guarded` guards; see `covtool.data.loading.loaders.ImageDataset`."""

    samples: Sequence[Sample]
    seed: int

    def __len__(self) -> int: ...

    def __getitem__(self, key: int | Draw) -> Item: ...

    def varied(self, index: int, draw: Draw) -> Item: ...


class _StandIn(NamedTuple):
    item: Item | None
    unreadable: Unreadable


class Guarded(Dataset):
    """A data set that hands an unreadable image on as an item, or another image in its place.

    Args:
        dataset: Data set that raises `DataError`, unless its images are cached.
        on_bad_image: ``error`` for the error as the item; ``skip`` for another image in place of
            one that was drawn for training, see `stand_ins`, and no item for others.
    """

    def __init__(self, dataset: Images | CachedDataset, on_bad_image: OnBadImage) -> None:
        self.dataset = dataset
        self.on_bad_image = on_bad_image

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(
        self, keys: Sequence[int | Draw]
    ) -> list[Item | DataError | _StandIn] | CachedBatch:
        if isinstance(self.dataset, CachedDataset):
            return self.dataset.__getitems__(keys)  # nothing of it can be unreadable
        return [self[key] for key in keys]

    def __getitem__(self, key: int | Draw) -> Item | DataError | _StandIn:
        try:
            return self.dataset[key]
        except DataError as problem:
            # Without traceback and cause: they hold frames and exceptions of libraries that cannot
            # be pickled, and a worker that fails to pickle its batch loses it.
            failed = problem.with_traceback(None)
        if self.on_bad_image == "error":
            return failed
        if not isinstance(key, Draw):
            return _StandIn(None, self._unreadable(key, failed))
        return self._stand_in(key, failed)

    def _stand_in(self, draw: Draw, failed: DataError) -> _StandIn | DataError:
        for index in islice(stand_ins(self.dataset.samples, draw, self.dataset.seed), ATTEMPTS):
            try:
                item = self.dataset.varied(index, draw)
            except DataError:
                continue
            return _StandIn(item, self._unreadable(draw.index, failed))
        return DataError(
            failed.message,
            reason=f"{failed.reason} Neither can {ATTEMPTS} others that were tried in its place.",
            hint="Is the data set still there?",
        )

    def _unreadable(self, index: int, failed: DataError) -> Unreadable:
        return Unreadable(str(self.dataset.samples[index].path), str(failed.reason))


def stand_ins(samples: Sequence[Sample], draw: Draw, seed: int) -> Iterator[int]:
    """Yield the images to try in place of one that cannot be read: of its class first, then any.

    The order follows from the seed and the draw: whichever process loads the image, and whenever,
    it is replaced by the same one. That one is seen in its own turn as well, varied differently.
    """
    generator = np.random.default_rng([seed, *draw.entropy])
    labels = labels_of(samples)
    # Of the same class first: batches of P classes with K images stay such.
    of_class = labels == labels[draw.index]
    for chosen in (np.flatnonzero(of_class), np.flatnonzero(~of_class)):
        yield from (int(i) for i in generator.permutation(chosen) if i != draw.index)


def collate(items: list[Any] | CachedBatch) -> Loaded | FilledSlot | DataError:
    """Collate items of a `Guarded` data set to a batch; the first error, if there is one."""
    if isinstance(items, FilledSlot):
        return items
    if isinstance(items, tuple):
        return Loaded(*items, ())
    failed = [item for item in items if isinstance(item, DataError)]
    if failed:
        return failed[0]
    instead = [item for item in items if isinstance(item, _StandIn)]
    given = [item.item if isinstance(item, _StandIn) else item for item in items]
    readable = [item for item in given if item is not None]
    images, labels = default_collate(readable) if readable else (None, None)
    return Loaded(images, labels, tuple(item.unreadable for item in instead))
