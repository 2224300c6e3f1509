"""Images varied at random, read from their files."""

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from covtool.data.datasets.samples import Sample, as_columns
from covtool.data.rendering.batch_ring import BatchLayout, BatchRing
from covtool.data.rendering.draws import Draw, generators_kept
from covtool.data.rendering.from_files import FileRenderer
from covtool.errors import DataError


class VariedDataset(Dataset[tuple[Tensor, int]]):
    """Images as tensors, with their labels, asked for by a `Draw`.

    Everything random about an image follows from the seed and the draw, whichever process prepares
    it.

    Args:
        samples: The image files.
        render: Function that reads an image and varies it.
        seed: Seed of every draw, not negative.
        ring: Memory through which workers hand batches over; None for torch's way.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        render: FileRenderer,
        *,
        seed: int = 0,
        ring: BatchRing | None = None,
    ) -> None:
        self.samples = as_columns(samples)
        self.render = render
        self.seed = seed
        self.ring = ring

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def layout(self) -> BatchLayout:
        """Layout of the batches."""
        return self.render.layout

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        """Return the image and its label.

        Raises:
            DataError: The image cannot be read; it names the file.
        """
        return self.varied(draw.index, draw)

    def varied(self, index: int, draw: Draw) -> tuple[Tensor, int]:
        """Return an image as a draw varies it: the draw's own, or another that replaces it.

        Raises:
            DataError: As for an item.
        """
        with generators_kept():
            return self.filled(index, draw, self.layout.empty(1)[0])

    def filled(self, index: int, draw: Draw, out: Tensor) -> tuple[Tensor, int]:
        """Return what `varied` does, in a place of a batch; the global generators change.

        Args:
            index: Index of the image.
            draw: The draw.
            out: Tensor that takes the image.

        Raises:
            DataError: As for an item.
        """
        sample = self.samples[index]
        self.render(sample.path, (self.seed, *draw.entropy), out)
        return out, sample.label

    def fill(self, draws: Sequence[Draw], places: Tensor) -> list[int]:
        """Fill a batch; the global generators change.

        Args:
            draws: The draws.
            places: Tensor that takes the images, (B, channels, height, width).

        Returns:
            Positions of images that cannot be read, in order.
        """
        failed, begun = [], []
        for position, (draw, place) in enumerate(zip(draws, places, strict=True)):
            path, entropy = self.samples[draw.index].path, (self.seed, *draw.entropy)
            try:
                begun.append((position, self.render.begin(path, entropy, place)))
            except DataError:
                failed.append(position)
        for position, rest in begun:
            try:
                if rest is not None:
                    rest()
            except DataError:
                failed.append(position)
        return sorted(failed)
