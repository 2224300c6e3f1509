"""Photographs for the benchmark of loaders: of noise, or enlarged from a data set's images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.data.images.decoding import image_size, read_image
from covtool.progress import Track

MADE_UP = 256  # images, where no data set is given
MADE_UP_SIZE = (500, 375)  # about ImageNet's mean
NOISE = 8.0  # standard deviation, of 255

MOST_ENLARGED = 128  # images: more of them would measure the disk
GRAIN = 5.0  # standard deviation, of 255: files of about 2 bits a pixel, as cameras write them

QUALITY = 90


@dataclass(frozen=True, slots=True)
class FileSizes:
    """Average size of images.

    Attributes:
        megapixels: Millions of pixels.
        bits_per_pixel: Bits of the files, per pixel: how much there is to decode.
    """

    megapixels: float
    bits_per_pixel: float


def file_sizes(samples: Sequence[Sample]) -> FileSizes:
    """Return the average size of image files, from their headers."""
    pixels = sum(width * height for width, height in (image_size(s.path) for s in samples))
    stored = sum(sample.path.stat().st_size for sample in samples)
    return FileSizes(pixels / len(samples) / 1e6, 8 * stored / pixels)


def made_up(folder: Path) -> Path:
    """Write photographs of noise, coarse and fine, as JPEG files of a usual size."""
    generator = np.random.default_rng(0)
    for number in range(MADE_UP):
        coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(MADE_UP_SIZE, Image.Resampling.BICUBIC)
        _write(image, NOISE, folder / "ab"[number % 2] / f"{number:03}.jpg", generator)
    return folder


def enlarged(
    samples: Sequence[Sample],
    class_names: Sequence[str],
    long_side: int,
    folder: Path,
    track: Track,
) -> Path:
    """Write images enlarged to photographs: bicubic, with fine noise, as JPEG files.

    What a decoder takes for an image depends on its pixels and on its bits, and an image that is
    only enlarged has few of the latter: grain brings them to what cameras write.

    Args:
        samples: The images; at most `MOST_ENLARGED` are taken, evenly from the classes.
        class_names: Names of the classes.
        long_side: Long side of each photograph, in pixels.
        folder: Folder for a folder per class.
        track: Display of the progress.
    """
    generator = np.random.default_rng(0)
    chosen = draw_evenly(samples, MOST_ENLARGED)
    for number, sample in enumerate(track(chosen, "enlarging images", len(chosen))):
        image = read_image(sample.path)
        factor = long_side / max(image.size)
        size = tuple(max(1, round(side * factor)) for side in image.size)
        large = image.resize(size, Image.Resampling.BICUBIC)
        name = Path(class_names[sample.label]).name
        _write(large, GRAIN, folder / name / f"{number:03}.jpg", generator)
    return folder


def _write(image: Image.Image, noise: float, path: Path, generator: np.random.Generator) -> None:
    fine = generator.normal(0, noise, (image.height, image.width, 1))
    pixels = (np.asarray(image) + fine).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=QUALITY)
