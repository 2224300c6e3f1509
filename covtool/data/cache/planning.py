"""The layout of a cache, planned from the headers of the images before one is decoded."""

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
        request: Image files and the form in which they are kept.
        setting: Place and decoding of the cache.
        index: Place of each image; its size is 0 where the header cannot be read.
        num_bytes: Bytes of all images.
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
        """The form in which they are kept."""
        return self.request.form


def plan_cache(request: CacheRequest, setting: CacheSetting) -> CachePlan:
    """Lay a cache out from the headers of the image files."""
    form, sizes, spaces = request.form, [], []
    found = in_threads(_size, [sample.path for sample in request.samples])
    for size in setting.track(found, f"measuring {request.split} images", len(request.samples)):
        # Pillow has width and height, the index height and width as arrays do.
        sizes.append(NOTHING if size is None else form.size(size)[::-1])
        spaces.append(NOTHING if size is None else form.space(size)[::-1])
    index = StoredIndex.lay_out(sizes, spaces, setting.channels)
    # In int64: sizes are int32, and the bytes of a data set do not fit into one.
    num_bytes = int(index.sizes.astype("int64").prod(1).sum()) * setting.channels
    return CachePlan(request, setting, index, num_bytes)


def _size(path: Path) -> Size | None:
    try:
        return image_size(path)
    except DataError:
        return None  # filling gives the reason
