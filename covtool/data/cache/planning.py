"""What a cache is going to hold, before an image is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covtool.data.cache.forms import Size, StoredForm
from covtool.data.cache.request import CacheRequest, CacheSetting
from covtool.data.cache.stored import StoredIndex
from covtool.data.datasets.samples import Sample
from covtool.data.images.decoding import image_size
from covtool.data.images.threads import in_threads
from covtool.errors import DataError

NOTHING = (0, 0)


@dataclass(frozen=True, slots=True)
class CachePlan:
    """A cache that is to be filled.

    Attributes:
        request: The image files, and what is kept of each.
        setting: How they are cached.
        index: Where each image is going to lie; of size 0 where its header cannot be read.
        num_bytes: Of all images.
    """

    request: CacheRequest
    setting: CacheSetting
    index: StoredIndex
    num_bytes: int

    @property
    def samples(self) -> Sequence[Sample]:
        """The image files."""
        return self.request.samples

    @property
    def form(self) -> StoredForm:
        """What is kept of each."""
        return self.request.form


def plan_cache(request: CacheRequest, setting: CacheSetting) -> CachePlan:
    """Lay a cache out, from the headers of the image files."""
    form, sizes, spaces = request.form, [], []
    found = in_threads(_size, [sample.path for sample in request.samples])
    for size in setting.track(found, f"measuring {request.split} images", len(request.samples)):
        sizes.append(NOTHING if size is None else form.size(size)[::-1])
        spaces.append(NOTHING if size is None else form.space(size)[::-1])
    index = StoredIndex.lay_out(sizes, spaces, setting.channels)
    num_bytes = int(index.sizes.astype("int64").prod(1).sum()) * setting.channels
    return CachePlan(request, setting, index, num_bytes)


def _size(path: Path) -> Size | None:
    try:
        return image_size(path)
    except DataError:
        return None  # filling will say why
