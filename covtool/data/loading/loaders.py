"""Batches of images for evaluation and for training."""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from covtool.data.cache import CachedImages
from covtool.data.datasets.checking import OnBadImage
from covtool.data.datasets.records.records import Records, labels_of
from covtool.data.datasets.samples import Sample
from covtool.data.images.decoding import read_image
from covtool.data.loading.batch_sampler import BatchSampler, Shard
from covtool.data.loading.cached_dataset import CachedDataset
from covtool.data.loading.samplers import SAMPLERS
from covtool.data.loading.unreadable import Guarded, Loaded, Unreadable, collate
from covtool.data.loading.worker_death import end_where_batches_are_lost, translate_worker_death
from covtool.data.rendering.batch_ring import FilledSlot, batch_ring
from covtool.data.rendering.choice import renderer_for
from covtool.data.rendering.draws import Draw, drawing
from covtool.data.rendering.renderers import PreparedRenderer, TensorRenderer
from covtool.data.transforms.from_timm import Transform, evaluation_pixels, training_transform
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.errors import ArgumentError, DataError
from covtool.specs import AugmentationSpec, InputSpec, ObjectiveSpec


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images as tensors, with their labels.

    An item is asked for by its index, or by a `Draw`: then everything random about it follows
    from the seed and the draw, whichever process prepares it.

    Args:
        samples: The image files.
        transform: An RGB image to a tensor, (channels, height, width).
        gray: Take the luminance of the images, in three equal channels.
        exif: Turn the images as their EXIF data tell.
        seed: Not negative.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transform: Transform,
        *,
        gray: bool = False,
        exif: bool = False,
        seed: int = 0,
    ) -> None:
        self.samples = samples if isinstance(samples, Records) else tuple(samples)
        self.transform = transform
        self.gray = gray
        self.exif = exif
        self.seed = seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: int | Draw) -> tuple[Tensor, int]:
        """Return the image and its label.

        Raises:
            DataError: The image cannot be read; it names the file.
        """
        if isinstance(key, Draw):
            return self.varied(key.index, key)
        sample = self.samples[key]
        return self.transform(self._read(sample)), sample.label

    def varied(self, index: int, draw: Draw) -> tuple[Tensor, int]:
        """Return an image as a draw varies it, be it the draw's own or one in its place.

        Raises:
            DataError: As for an item.
        """
        sample = self.samples[index]
        image = self._read(sample)
        with drawing(self.seed, *draw.entropy):
            return self.transform(image), sample.label

    def _read(self, sample: Sample) -> Image.Image:
        return read_image(sample.path, gray=self.gray, exif=self.exif)


AnyDataset = ImageDataset | CachedDataset


class ImageLoader(DataLoader):
    """A `DataLoader` that reports an unreadable image as it is, from whichever process.

    torch would hand on the text of the worker's traceback instead.

    Args:
        dataset: Of images.
        normalize: What is done to a whole batch of them, in this process.
        on_bad_image: What to do about one that cannot be read; see `Guarded`.
        **settings: Of the `DataLoader`.

    Attributes:
        on_unreadable: Called with each image that is replaced or left out.
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
            epoch: Decides order and variation.
            start: The batch to start with; the images of those before it are not read.
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
            batches = super().__iter__()
        with translate_worker_death(self.num_workers):
            for batch in batches:
                if isinstance(batch, DataError):
                    raise batch
                if isinstance(batch, FilledSlot):
                    batch = Loaded(*self.dataset.dataset.ring.batch(batch), ())
                for unreadable in batch.unreadable:
                    self.on_unreadable(unreadable)
                if batch.images is not None:
                    images, labels = batch.images, batch.labels
                    yield images if self._normalize is None else self._normalize(images), labels


def evaluation_loader(  # noqa: PLR0913 -- a loader is its data, its preparation and its pace
    samples: Sequence[Sample],
    input: InputSpec,
    *,
    batch_size: int = 32,
    workers: int = 2,
    device: torch.device | None = None,
    select_batches: Callable[[Sequence[range]], Sequence[range]] | None = None,
    on_bad_image: OnBadImage = "error",
) -> ImageLoader:
    """Batches in the order of `samples`, none left out, prepared as `evaluation_transform` does.

    Args:
        samples: The image files, or `CachedImages` that are kept ready to use.
        input: The images that the model expects.
        batch_size: Images per batch; the last may be smaller.
        workers: Processes that prepare images, at most; 0 for this process.
        device: Where the images are normalized; None for the CPU.
        select_batches: Function that selects the batches of this process from those of all; None
            for all of them. Batches are cut before that, so that several processes compute
            what one does, to the last bit.
        on_bad_image: What to do about an image that cannot be read any more: ``skip`` leaves it
            out.

    Returns:
        Pairs of images, (B, channels, height, width) in float32, and labels, (B,) in int64.
    """
    images = range(len(samples))
    batches = [images[at : at + batch_size] for at in range(0, len(images), batch_size)]
    batches = batches if select_batches is None else select_batches(batches)
    if isinstance(samples, CachedImages):
        return ImageLoader(
            CachedDataset(samples, _prepared(samples, input)),
            normalize=normalization(input, device),
            batch_sampler=batches,
            **_settings(0, pin=samples.images.pixels.is_cpu),
        )
    return ImageLoader(
        ImageDataset(samples, evaluation_pixels(input), **_reading(input)),
        normalize=normalization(input, device),
        on_bad_image=on_bad_image,
        batch_sampler=batches,
        **_settings(useful_workers(workers, len(batches))),
    )


def training_loader(  # noqa: PLR0913 -- a loader is its data, its preparation and its pace
    samples: Sequence[Sample],
    input: InputSpec,
    augmentation: AugmentationSpec,
    *,
    objective: ObjectiveSpec | None = None,
    batch_size: int = 32,
    workers: int = 2,
    seed: int = 0,
    drop_last: bool = True,
    shard: Shard | None = None,
    device: torch.device | None = None,
    on_bad_image: OnBadImage = "error",
) -> ImageLoader:
    """Return batches in random order, varied at random; call `set_epoch` before each epoch.

    Order and variation follow from the seed and the epoch: neither the number of workers nor what
    was drawn before changes them, and no global random state is touched.

    Args:
        samples: The image files, or `CachedImages` of them.
        input: The images that the model expects.
        augmentation: How they are varied.
        objective: Says which sampler of `SAMPLERS`; None for every image once per epoch.
        batch_size: Images per batch of this process.
        workers: Processes that prepare images, at most; 0 for this process. They stay for all
            epochs.
        seed: Not negative.
        drop_last: Leave out an incomplete last batch, where there is a complete one: batch
            normalization fails on a batch of one image.
        shard: Which of several processes this is.
        device: As for `evaluation_loader`.
        on_bad_image: What to do about an image that cannot be read any more: ``skip`` puts another
            one in its place.

    Returns:
        As `evaluation_loader`.

    Raises:
        ArgumentError: `seed` is negative, or the sampler cannot fill batches from these classes.
    """
    if seed < 0:
        raise ArgumentError(f"The seed must not be negative, but it is {seed}.")
    objective, shard = objective or ObjectiveSpec(), shard or Shard()
    dataset, normalize = _training_data(samples, input, augmentation, seed, device)
    together = batch_size * shard.world
    order = SAMPLERS[objective.sampler].build(labels_of(samples), objective, together, seed)
    batches = BatchSampler(order, batch_size=together, shard=shard, drop_last=drop_last)
    cached = isinstance(samples, CachedImages)
    on_cpu = not cached or samples.images.pixels.is_cpu
    idle = cached and not (samples.varied and on_cpu)
    processes = 0 if idle else useful_workers(workers, len(batches))
    if isinstance(dataset, CachedDataset):
        dataset.ring = batch_ring(processes, batch_size, dataset.render.layout)
    return ImageLoader(
        dataset,
        normalize=normalize,
        on_bad_image=on_bad_image,
        batch_sampler=batches,
        persistent_workers=processes > 0,
        **_settings(processes, pin=on_cpu),
    )


def useful_workers(workers: int, batches: int) -> int:
    """At most one process per core (torch warns about more) and batch; none for a single batch."""
    return min(workers, _cores(), batches if batches > 1 else 0)


def _training_data(
    samples: Sequence[Sample],
    input: InputSpec,
    augmentation: AugmentationSpec,
    seed: int,
    device: torch.device | None,
) -> tuple[AnyDataset, Normalization | None]:
    """Return what batches are made of, and what is left to do to them."""
    if not isinstance(samples, CachedImages):
        erased = augmentation.aug and augmentation.reprob > 0  # which follows the normalization
        transform = training_transform(input, augmentation, normalize=erased)
        dataset = ImageDataset(samples, transform, **_reading(input), seed=seed)
        return dataset, None if erased else normalization(input, device)
    finish = normalization(input, device)
    if not samples.varied:
        return CachedDataset(samples, _prepared(samples, input), seed=seed), finish
    transform = training_transform(input, augmentation)
    where = samples.images.pixels.device
    render = renderer_for(transform, normalization(input, where, exact=where.type == "cpu"))
    if isinstance(render, TensorRenderer):
        finish = normalization(input, device, exact=False)  # resizing rounds in its own way as well
    return CachedDataset(samples, render, seed=seed), finish


def _reading(input: InputSpec) -> dict[str, bool]:
    """Return how image files are read for a model."""
    return {"gray": input.channels == 1, "exif": input.exif}


def _prepared(cached: CachedImages, input: InputSpec) -> PreparedRenderer:
    return PreparedRenderer(input.channels, input.size, cached.images.pixels.device)


def _settings(workers: int, *, pin: bool = True) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "pin_memory": pin and torch.cuda.is_available(),
        "worker_init_fn": _prepare_worker if workers else None,
        "generator": torch.Generator(),  # a loader of its own draws nothing from the global one
    }


def _prepare_worker(worker: int) -> None:
    _leave_signals_to_the_parent()
    end_where_batches_are_lost()


def _leave_signals_to_the_parent() -> None:
    """Terminals and schedulers signal the whole group, but the parent still needs its batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_asks, daemon=True).start()


def _end_when_the_parent_asks() -> None:
    """A parent that ends asks its workers to do so by SIGTERM, and waits for them."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _cores() -> int:
    """Cores this process may use; torch warns about more workers than that."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
