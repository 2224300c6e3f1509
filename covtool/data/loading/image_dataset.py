"""Images read from their files, as tensors with their labels."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from covtool.data.datasets.samples import Sample, as_columns
from covtool.data.images.decoding import read_image
from covtool.data.rendering.draws import Draw, drawing
from covtool.data.transforms.from_timm import Transform


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images as tensors, with their labels.

    An item is asked for by its index, or by a `Draw`: then everything random about it follows
    from the seed and the draw, whichever process prepares it.

    Args:
        samples: The image files.
        transform: An RGB image to a tensor, (channels, height, width).
        gray: Whether images become their luminance, in three equal channels.
        exif: Whether images are turned by their EXIF orientation.
        seed: Seed of every draw, not negative.
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
        self.samples = as_columns(samples)
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
        """Return an image as a draw varies it: the draw's own, or another that replaces it.

        Raises:
            DataError: As for an item.
        """
        sample = self.samples[index]
        image = self._read(sample)
        # timm's transforms draw from the global generators, which are seeded for this image only.
        with drawing(self.seed, *draw.entropy):
            return self.transform(image), sample.label

    def _read(self, sample: Sample) -> Image.Image:
        return read_image(sample.path, gray=self.gray, exif=self.exif)
