"""Small generated image data sets."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, *, seed: int = 0, size: tuple[int, int] = (20, 16)) -> Path:
    """Noise, `size` wide and high, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_classes(folder: Path, classes: dict[str, int]) -> Path:
    """A folder per class, each with that many images."""
    for position, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            write_image(folder / name / f"{number:03}.png", seed=1000 * position + number)
    return folder


def truncate(path: Path) -> Path:
    """Cut a file in half, as a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def photograph(size: tuple[int, int], *, seed: int = 0) -> Image.Image:
    """Something as smooth as photographs are, `size` wide and high: no pixel is left alone."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def write_photographs(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """Two classes that take turns, an image of each size."""
    for number, size in enumerate(sizes):
        path = folder / "ab"[number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(size, seed=number).save(path)
    return folder
