"""Batches of images from an iterator: the loader draws as many as it needs to be ahead."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from covtool.data.datasets.records.records import Records
from covtool.data.images.decoding import Decoded, decode_image, decode_picture
from covtool.data.loading.worker_death import no_signal_raises, translate_worker_death, watched
from covtool.data.loading.workers import prepare_worker, useful_workers
from covtool.data.transforms.from_timm import Transform
from covtool.errors import DataError
from covtool.prediction.image_inputs import ImageInput, place_in
from covtool.specs import InputSpec


class Prepared(NamedTuple):
    """An image as a worker hands it on.

    Attributes:
        pixels: Its views, uint8; None where it cannot be read.
        error: Reason why it cannot be read; else empty.
        has_turn: Whether its EXIF orientation would turn it.
        is_dim: Whether it is nearly black; see `covtool.data.images.dim`.
    """

    pixels: Tensor | None
    error: str = ""
    has_turn: bool = False
    is_dim: bool = False


class ImageBatch(NamedTuple):
    """Images that go through the network together.

    Attributes:
        inputs: The images.
        pixels: (B, channels, height, width) in uint8, or (B, views, channels, height, width). An
            image that cannot be read has another's place: a batch of another size would change the
            last bits of all answers in it. None where none can be read.
        errors: Reason for each that cannot be read; else empty.
        turned: Number of images with an EXIF orientation that turns them.
        dim: Number of images that are nearly black.
    """

    inputs: tuple[ImageInput, ...]
    pixels: Tensor | None
    errors: tuple[str, ...]
    turned: int
    dim: int


class StreamedImages(Dataset):
    """A data set whose keys are the images themselves.

    Args:
        records: Records that some of them are in.
        input: Images that the model expects.
        transform: An RGB image to its views, uint8.
    """

    def __init__(self, records: Sequence[Records], input: InputSpec, transform: Transform) -> None:
        self.records, self.transform = records, transform
        self.gray, self.exif = input.channels == 1, input.exif

    def __getitem__(self, key: ImageInput) -> tuple[ImageInput, Prepared]:
        try:
            found = self._decoded(key)
        except DataError as problem:  # as an item: raised here, it would end the whole loader
            return key, Prepared(None, problem.reason or problem.message)
        return key, Prepared(
            self.transform(found.image), has_turn=found.has_turn, is_dim=found.is_dim
        )

    def _decoded(self, key: ImageInput) -> Decoded:
        place = place_in(key.place, self.records)
        if isinstance(place, Image.Image):
            return decode_picture(place, gray=self.gray, exif=self.exif)
        return decode_image(place, gray=self.gray, exif=self.exif)


def chunked(images: Iterable[ImageInput], size: int) -> Iterator[list[ImageInput]]:
    """Yield images `size` at a time; the last may be fewer."""
    following = iter(images)
    while batch := list(islice(following, size)):
        yield batch


def image_batches(
    dataset: StreamedImages, batches: Iterable[list[ImageInput]], *, count: int | None, workers: int
) -> Iterator[ImageBatch]:
    """Yield batches of images, in their order, prepared by worker processes.

    Args:
        dataset: Preparation of an image.
        batches: The images, those of each batch; drawn from as they are needed.
        count: Number of batches; None where it is not known.
        workers: Processes that prepare images, at most; 0 for this process.

    Raises:
        WorkerError: One of them died.
    """
    processes = useful_workers(workers, 2 if count is None else count)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=_collated,
        num_workers=processes,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=prepare_worker if processes else None,
        # Else the loader draws a seed from the caller's global generator.
        generator=torch.Generator(),
    )
    with warnings.catch_warnings():
        # Forking beside torch's threads is what torch itself does on Linux.
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        with no_signal_raises():
            loading = iter(loader)
    with translate_worker_death(processes):
        yield from watched(loading)


def _collated(items: list[tuple[ImageInput, Prepared]]) -> ImageBatch:
    inputs, prepared = zip(*items, strict=True)
    stand_in = next((one.pixels for one in prepared if one.pixels is not None), None)
    pixels = None
    if stand_in is not None:
        pixels = torch.stack([stand_in if one.pixels is None else one.pixels for one in prepared])
    return ImageBatch(
        inputs=inputs,
        pixels=pixels,
        errors=tuple(one.error for one in prepared),
        turned=sum(one.has_turn for one in prepared),
        dim=sum(one.is_dim for one in prepared),
    )
