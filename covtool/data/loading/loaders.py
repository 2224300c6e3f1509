"""Batches of images for evaluation and for training."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from covtool.data.cache import CachedImages
from covtool.data.datasets.checking import OnBadImage
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.samples import Sample
from covtool.data.loading.batch_sampler import BatchSampler, Shard
from covtool.data.loading.cached_dataset import CachedDataset
from covtool.data.loading.image_dataset import ImageDataset
from covtool.data.loading.image_loader import AnyDataset, ImageLoader
from covtool.data.loading.samplers import SAMPLERS
from covtool.data.loading.varied_dataset import VariedDataset
from covtool.data.loading.workers import prepare_worker, useful_workers
from covtool.data.rendering.batch_ring import batch_ring
from covtool.data.rendering.choice import renderer_for
from covtool.data.rendering.from_files import FileRenderer
from covtool.data.rendering.renderers import PreparedRenderer, TensorRenderer
from covtool.data.transforms.from_timm import evaluation_pixels, training_transform
from covtool.data.transforms.normalization import Normalization, normalization
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec, ObjectiveSpec


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
    """Build a loader of all images in order, prepared as `evaluation_transform` does.

    Args:
        samples: The image files, or `CachedImages`: those kept ready to use are used as they are,
            those to be varied at random are read again.
        input: The images that the model expects.
        batch_size: Images per batch; the last may be smaller.
        workers: Processes that prepare images, at most; 0 for this process.
        device: Device that normalizes the images; None for the CPU.
        select_batches: Function that selects the batches of this process from those of all; None
            for all of them. Batches are cut before that, so that several processes compute
            what one does, to the last bit.
        on_bad_image: Treatment of an image that has become unreadable: ``skip`` leaves it out.

    Returns:
        Pairs of images, (B, channels, height, width) in float32, and labels, (B,) in int64.
    """
    # Those of a run's training have a margin to crop from: what is evaluated comes from the files.
    if isinstance(samples, CachedImages) and samples.varied:
        samples = samples.samples
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
    exact_decode: bool = False,
) -> ImageLoader:
    """Build a loader in random order, varied at random; call `set_epoch` before each epoch.

    Order and variation follow from the seed and the epoch: neither the number of workers nor what
    was drawn before changes them, and no global random state is touched.

    Args:
        samples: The image files, or `CachedImages` of them.
        input: The images that the model expects.
        augmentation: Random variation of the images.
        objective: Objective with the sampler of `SAMPLERS`; None for every image once per epoch.
        batch_size: Images per batch of this process.
        workers: Processes that prepare images, at most; 0 for this process. They live for all
            epochs.
        seed: Seed of order and variation, not negative.
        drop_last: Whether an incomplete last batch is left out, where there is a complete one.
        shard: Position of this process among several; None for a single one.
        device: Device that normalizes the images; None for the CPU.
        on_bad_image: Treatment of an image that has become unreadable: ``skip`` replaces it.
        exact_decode: Whether image files are decoded at full size; see `FileRenderer`.

    Returns:
        Pairs of images and labels, as `evaluation_loader`.

    Raises:
        ArgumentError: `seed` is negative, or the sampler cannot fill batches from these classes.
    """
    if seed < 0:
        raise ArgumentError(f"The seed must not be negative, but it is {seed}.")
    objective, shard = objective or ObjectiveSpec(), shard or Shard()
    dataset, normalize = _training_data(
        samples, input, augmentation, seed=seed, device=device, exact_decode=exact_decode
    )
    together = batch_size * shard.world
    order = SAMPLERS[objective.sampler].build(labels_of(samples), objective, together, seed)
    batches = BatchSampler(order, batch_size=together, shard=shard, drop_last=drop_last)
    on_cpu = not isinstance(samples, CachedImages) or samples.images.pixels.is_cpu
    processes = useful_workers(workers, len(batches)) if _need_workers(samples) else 0
    if isinstance(dataset, VariedDataset | CachedDataset):
        dataset.ring = batch_ring(processes, batch_size, dataset.layout)
    return ImageLoader(
        dataset,
        normalize=normalize,
        on_bad_image=on_bad_image,
        batch_sampler=batches,
        persistent_workers=processes > 0,
        **_settings(processes, pin=on_cpu),
    )


def _need_workers(samples: Sequence[Sample]) -> bool:
    """Return whether there is work for other processes than this one."""
    if not isinstance(samples, CachedImages):
        return True
    # Prepared images are only copied, and those on a device are varied there.
    return samples.varied and samples.images.pixels.is_cpu


def _training_data(
    samples: Sequence[Sample],
    input: InputSpec,
    augmentation: AugmentationSpec,
    *,
    seed: int,
    device: torch.device | None,
    exact_decode: bool,
) -> tuple[AnyDataset, Normalization]:
    """Return the data set of a training loader, and the normalization that is left to do."""
    finish = normalization(input, device)
    is_cached = isinstance(samples, CachedImages)
    if is_cached and not samples.varied:
        return CachedDataset(samples, _prepared(samples, input), seed=seed), finish
    if not is_cached and not augmentation.aug:
        return ImageDataset(samples, evaluation_pixels(input), **_reading(input), seed=seed), finish
    # The one way from decoded pixels to varied images, wherever they were decoded.
    where = samples.images.pixels.device if is_cached else torch.device("cpu")
    transform = training_transform(input, augmentation)
    render = renderer_for(transform, normalization(input, where, exact=where.type == "cpu"))
    if isinstance(render, TensorRenderer):
        finish = normalization(input, device, exact=False)  # resizing rounds in its own way as well
    if is_cached:
        return CachedDataset(samples, render, seed=seed), finish
    from_files = FileRenderer(render, input, exact_decode=exact_decode)
    return VariedDataset(samples, from_files, seed=seed), finish


def _reading(input: InputSpec) -> dict[str, bool]:
    """Return the settings with which image files are read for a model."""
    return {"gray": input.channels == 1, "exif": input.exif}


def _prepared(cached: CachedImages, input: InputSpec) -> PreparedRenderer:
    return PreparedRenderer(input.channels, input.size, cached.images.pixels.device)


def _settings(workers: int, *, pin: bool = True) -> dict[str, Any]:
    return {
        "num_workers": workers,
        "pin_memory": pin and torch.cuda.is_available(),
        "worker_init_fn": prepare_worker if workers else None,
        # Without one of its own, the loader draws a seed from the global generator in each epoch,
        # and a resumed run would go on with other random numbers.
        "generator": torch.Generator(),
    }
