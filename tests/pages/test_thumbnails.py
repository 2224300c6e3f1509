"""Thumbnails: small, of any mode, within a budget."""

import io

import numpy as np
import pytest
from PIL import Image

from covtool.pages import thumbnail, thumbnails
from covtool.pages.thumbnails import embedded_bytes

MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F")


def noise(side: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("mode", MODES)
def test_images_of_every_mode_become_small(mode: str) -> None:
    made = thumbnail(Image.new(mode, (300, 150)), side=60)
    with Image.open(io.BytesIO(made.data)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (60, 30))
    assert (made.width, made.height) == (60, 30)
    assert made.uri.startswith("data:image/jpeg;base64,")


def test_values_of_wide_images_are_spread() -> None:
    values = np.linspace(0, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    with Image.open(io.BytesIO(thumbnail(Image.fromarray(values)).data)) as image:
        low, high = image.convert("L").getextrema()
    assert low < 10 and high > 245


def test_what_is_transparent_becomes_white() -> None:
    made = thumbnail(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    with Image.open(io.BytesIO(made.data)) as image:
        assert image.getpixel((4, 4)) == (255, 255, 255)


def test_the_image_stays_as_it_is() -> None:
    image = noise(300)
    before = image.tobytes()
    thumbnail(image)
    assert image.tobytes() == before and image.size == (300, 300)


@pytest.mark.parametrize("budget", [400_000, 150_000, 40_000])
def test_the_budget_is_kept(budget: int) -> None:
    images = [noise(200, seed) for seed in range(20)]
    assert embedded_bytes(thumbnails(images)) > 150_000
    made = thumbnails(images, budget=budget)
    assert len(made) == 20 and embedded_bytes(made) <= budget
