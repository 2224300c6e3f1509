"""Images that have become unreadable since a run started: errors, or others in their place."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from covtool.data.datasets.checking import OnBadImage
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.samples import Sample
from covtool.data.loading.batches import BatchPlace, Loaded, Unreadable
from covtool.data.loading.cached_dataset import CachedDataset
from covtool.data.loading.varied_dataset import VariedDataset
from covtool.data.rendering.batch_ring import FilledSlot
from covtool.data.rendering.draws import Draw, generators_kept
from covtool.errors import DataError

ATTEMPTS = 20  # images tried in place of one; if all fail, the data set itself is gone

Item = tuple[Tensor, int]


class Images(Protocol):
    """Data set that `Guarded` guards, such as `covtool.data.loading.image_dataset.ImageDataset`."""

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

    def __init__(
        self, dataset: Images | VariedDataset | CachedDataset, on_bad_image: OnBadImage
    ) -> None:
        self.dataset = dataset
        self.on_bad_image = on_bad_image

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(
        self, keys: Sequence[int | Draw]
    ) -> list[Item | DataError | _StandIn] | Loaded | FilledSlot | DataError:
        if isinstance(self.dataset, CachedDataset):
            return self.dataset.__getitems__(keys)  # nothing of it can be unreadable
        if isinstance(self.dataset, VariedDataset):
            return self._batch(keys)
        return [self[key] for key in keys]

    def __getitem__(self, key: int | Draw) -> Item | DataError | _StandIn:
        if isinstance(key, Draw):
            return self._varied(key, self.dataset.varied)
        try:
            return self.dataset[key]
        except DataError as problem:
            failed = _bare(problem)
        if self.on_bad_image == "error":
            return failed
        return _StandIn(None, self._unreadable(key, failed))

    def _batch(self, draws: Sequence[Draw]) -> Loaded | FilledSlot | DataError:
        """Return a whole batch, filled where it is handed over."""
        place = BatchPlace.of(self.dataset.ring, self.dataset.layout, len(draws))
        labels = [self.dataset.samples[draw.index].label for draw in draws]
        unreadable = []
        with generators_kept():  # once a batch: it takes as long as to open an image
            for position in self.dataset.fill(draws, place.images):
                fill = partial(self.dataset.filled, out=place.images[position])
                item = self._varied(draws[position], fill)
                if isinstance(item, DataError):
                    return item
                if isinstance(item, _StandIn):
                    unreadable.append(item.unreadable)
                    labels[position] = item.item[1]
        return place.filled(labels, tuple(unreadable))

    def _varied(self, draw: Draw, load: Callable[[int, Draw], Item]) -> Item | DataError | _StandIn:
        try:
            return load(draw.index, draw)
        except DataError as problem:
            failed = _bare(problem)
        if self.on_bad_image == "error":
            return failed
        for index in islice(stand_ins(self.dataset.samples, draw, self.dataset.seed), ATTEMPTS):
            try:
                item = load(index, draw)
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


def _bare(problem: DataError) -> DataError:
    # Without traceback and cause: they hold frames and exceptions of libraries that cannot be
    # pickled, and a worker that fails to pickle its batch loses it.
    return problem.with_traceback(None)


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


def collate(
    items: list[Any] | Loaded | FilledSlot | DataError,
) -> Loaded | FilledSlot | DataError:
    """Collate items of a `Guarded` data set to a batch; the first error, if there is one."""
    if not isinstance(items, list):
        return items
    failed = [item for item in items if isinstance(item, DataError)]
    if failed:
        return failed[0]
    instead = [item for item in items if isinstance(item, _StandIn)]
    given = [item.item if isinstance(item, _StandIn) else item for item in items]
    readable = [item for item in given if item is not None]
    images, labels = default_collate(readable) if readable else (None, None)
    return Loaded(images, labels, tuple(item.unreadable for item in instead))
