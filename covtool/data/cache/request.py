"""A run's request for cached images, and the images that it gets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from covtool.data.cache.forms import StoredForm
from covtool.data.cache.stored import StoredImages
from covtool.data.datasets.checking import CheckedSamples, ImageProblem, OnBadImage
from covtool.data.datasets.samples import Sample, chosen_samples
from covtool.progress import Track, silent
from covtool.specs import LoadingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """Images to cache.

    Attributes:
        split: Name of their split, for messages and the file name.
        samples: The image files.
        form: Form in which each is kept.
    """

    split: str
    samples: Sequence[Sample]
    form: StoredForm


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSetting:
    """Place and decoding of a run's caches.

    Attributes:
        spec: Kind of cache and its bounds.
        root: Folder of the data set.
        gray: Whether the model sees luminance only.
        exif: Whether images are turned by their EXIF orientation.
        device: Device of the model.
        on_bad_image: Whether an unreadable image is an error, or left out.
        note: Function that takes a note for the user.
        track: Display of the progress.
    """

    spec: LoadingSpec
    root: Path
    gray: bool = False
    exif: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_bad_image: OnBadImage = "error"
    note: Callable[[str], None] = lambda text: None
    track: Track = silent

    @property
    def channels(self) -> int:
        """Bytes kept per pixel."""
        return 1 if self.gray else 3


class CachedImages(Sequence[Sample]):
    """Samples whose images are cached.

    Args:
        request: The request for them.
        images: Decoded images of all its samples; those that cannot be read have no size.
        bad: File and reason of those.
        seen: What was seen while they were decoded; None where they were not.

    Attributes:
        samples: Samples whose images can be read.
        images: Images of these samples, in the same order.
        varied: Whether they are to be varied at random; else they are a network's input.
        bad: File and reason of images that cannot be read.
        seen: What was seen of the images while they were decoded; None for a mapped file, which
            was made by another run.
    """

    def __init__(
        self,
        request: CacheRequest,
        images: StoredImages,
        bad: Sequence[ImageProblem],
        seen: CheckedSamples | None = None,
    ) -> None:
        rows = images.index.readable
        # A sample for each image: indices of a sampler are rows of `images`.
        self.samples = chosen_samples(request.samples, rows)
        # Without bad ones as it is: a selection would copy the index of a mapped file.
        self.images = images.only(rows) if bad else images
        self.varied = request.form.varied
        self.bad = tuple(bad)
        self.seen = seen

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)
