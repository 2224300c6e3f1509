"""What a run wants to have cached, and what it gets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from covtool.data.cache.forms import StoredForm
from covtool.data.cache.stored import StoredImages
from covtool.data.datasets.checking import ImageProblem, OnBadImage
from covtool.data.datasets.samples import Sample
from covtool.progress import Track, silent
from covtool.specs import LoadingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRequest:
    """What is to be cached.

    Attributes:
        split: What the images are, in a word: ``train``.
        samples: The image files.
        form: What to keep of each.
    """

    split: str
    samples: Sequence[Sample]
    form: StoredForm


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSetting:
    """How the images of a run are cached.

    Attributes:
        spec: Where, and how much.
        root: Folder of the data set.
        gray: Whether the model sees luminance only.
        exif: Whether images are turned as their EXIF data tell.
        device: Where the model is.
        on_bad_image: Whether an unreadable image is an error, or left out.
        note: Is told what is worth knowing.
        track: Shows the progress.
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
        request: What was asked for.
        images: All of its images, decoded; those that cannot be read have no size.
        bad: File and reason of those.

    Attributes:
        samples: Those whose images can be read.
        images: Of these samples, in the same order.
        varied: Whether they are to be varied at random; else they are as the network takes them.
        bad: File and reason of images that cannot be read.
    """

    def __init__(
        self, request: CacheRequest, images: StoredImages, bad: Sequence[ImageProblem]
    ) -> None:
        rows = images.index.readable
        self.samples = tuple(request.samples[row] for row in rows)
        self.images = images.only(rows) if bad else images
        self.varied = request.form.varied
        self.bad = tuple(bad)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)
