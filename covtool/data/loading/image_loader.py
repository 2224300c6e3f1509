"""A `DataLoader` for images, some of which may have become unreadable."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from covtool.data.datasets.checking import OnBadImage
from covtool.data.loading.batches import Loaded, Unreadable
from covtool.data.loading.cached_dataset import CachedDataset
from covtool.data.loading.image_dataset import ImageDataset
from covtool.data.loading.unreadable import Guarded, collate
from covtool.data.loading.varied_dataset import VariedDataset
from covtool.data.loading.worker_death import no_signal_raises, translate_worker_death, watched
from covtool.data.rendering.batch_ring import FilledSlot
from covtool.data.transforms.normalization import Normalization
from covtool.errors import DataError

AnyDataset = ImageDataset | VariedDataset | CachedDataset


class ImageLoader(DataLoader):
    """A `DataLoader` that raises the same error about an unreadable image from every process.

    torch would raise one with the text of the worker's traceback instead.

    Args:
        dataset: Images with their labels.
        normalize: Normalization of a whole batch, in this process.
        on_bad_image: Treatment of an image that cannot be read; see `Guarded`.
        **settings: Other settings of the `DataLoader`.

    Attributes:
        on_unreadable: Function that is called with each image that is replaced or left out.
    """

    def __init__(
        self,
        dataset: AnyDataset,
        *,
        normalize: Normalization | None = None,
        on_bad_image: OnBadImage = "error",
        **settings: Any,
    ) -> None:
        super().__init__(Guarded(dataset, on_bad_image), collate_fn=collate, **settings)
        self._normalize = normalize
        self.on_unreadable: Callable[[Unreadable], None] = lambda unreadable: None

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Choose the epoch, counted from 0, of a training loader's next iteration.

        Args:
            epoch: Number that decides order and variation.
            start: First batch; the images of those before it are not read.
        """
        self.batch_sampler.set_epoch(epoch, start=start)

    @property
    def first_image(self) -> int:
        """The index of the first image of an evaluation loader; 0 where it has none."""
        return next((batch[0] for batch in self.batch_sampler), 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        with warnings.catch_warnings():
            # Forking beside torch's threads is what torch itself does on Linux.
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            with no_signal_raises():
                batches = super().__iter__()
        with translate_worker_death(self.num_workers):
            for batch in watched(batches):
                # An error comes as a batch: one that is raised in a worker would be wrapped.
                if isinstance(batch, DataError):
                    raise batch
                if isinstance(batch, FilledSlot):
                    images, labels = self.dataset.dataset.ring.batch(batch)
                    batch = Loaded(images, labels, batch.unreadable)
                for unreadable in batch.unreadable:
                    self.on_unreadable(unreadable)
                if batch.images is not None:
                    images, labels = batch.images, batch.labels
                    yield images if self._normalize is None else self._normalize(images), labels
