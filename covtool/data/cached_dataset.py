"""Training and evaluation from cached images."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from covtool.data.cache import CachedImages
from covtool.data.rendering import Renderer
from covtool.data.sampling import Draw, generators_kept, seed_generators


class CachedDataset(Dataset[tuple[Tensor, int]]):
    """Cached images as tensors, with their labels; asked for as those of `ImageDataset`.

    Args:
        cached: The images, in memory that this process can read.
        render: What is made of each.
        seed: Not negative.
    """

    def __init__(self, cached: CachedImages, render: Renderer, *, seed: int = 0) -> None:
        self.cached = cached
        self.render = render
        self.seed = seed

    def __len__(self) -> int:
        return len(self.cached)

    def __getitem__(self, key: int | Draw) -> tuple[Tensor, int]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int | Draw]) -> list[tuple[Tensor, int]]:
        """Several images: the generators' states are kept once for all of them."""
        with generators_kept():
            return [self._item(key) for key in keys]

    def _item(self, key: int | Draw) -> tuple[Tensor, int]:
        index = key
        if isinstance(key, Draw):
            index = key.index
            seed_generators(self.seed, *key.entropy)
        image = self.render(self.cached.images[index], self.cached.images.space(index))
        return image, self.cached[index].label
