"""Images of 16 bits that are nearly black are told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covtool.data.datasets.checking import check_images
from covtool.data.datasets.samples import Sample
from covtool.data.images.dim import note_on_dim


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("white", "dim"), [(0, 0), (255, 1), (4095, 1), (4096, 0), (65535, 0)])
def test_images_without_high_values_are_counted(
    tmp_path: Path, suffix: str, white: int, dim: int
) -> None:
    pixels = np.full((8, 8), white, dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / f"x{suffix}")
    assert check_images([Sample(tmp_path / f"x{suffix}", 0)]).dim == dim


def test_dark_images_of_8_bits_are_as_they_are(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 3).save(tmp_path / "x.png")
    assert check_images([Sample(tmp_path / "x.png", 0)]).dim == 0
    assert note_on_dim(0) is None
