"""What Pillow opens is an image, unless a program would have to be started for it."""

import numpy as np
import pytest
from images import write_image
from PIL import Image

from covtool.data.images.decoding import is_image, read_image
from covtool.data.images.formats import INSIDE, LEFT_ALONE, image_formats, image_suffixes
from covtool.errors import DataError

WRITTEN = {
    ".jpg": "JPEG",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".mpo": "MPO",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".jp2": "JPEG2000",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".tga": "TGA",
    ".ico": "ICO",
    ".pcx": "PCX",
    ".qoi": "QOI",
}
COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_formats_are_read_by_every_suffix_that_they_have(tmp_path, suffix):
    path = tmp_path / f"x{suffix.upper()}"
    Image.new("RGB", (32, 32), COLORS[0]).save(path, WRITTEN[suffix])
    assert is_image(path)
    assert np.abs(np.asarray(read_image(path)).astype(int) - COLORS[0]).max() < 16


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".tif", ".png", ".avif", ".mpo"])
def test_of_several_images_in_a_file_the_first_is_read(tmp_path, suffix):
    first, *others = (Image.new("RGB", (16, 16), color) for color in COLORS)
    first.save(tmp_path / f"x{suffix}", save_all=True, append_images=others)
    read = np.asarray(read_image(tmp_path / f"x{suffix}")).astype(int)
    assert np.abs(read - COLORS[0]).max() < 16


def test_every_format_is_read_or_left_alone_for_a_reason():
    """A new version of Pillow, or a plugin, may bring others."""
    known = {*image_formats(), *LEFT_ALONE, *INSIDE}
    assert set(Image.registered_extensions().values()) - known <= {"PDF", "PALM"}  # only written
    assert not set(image_formats()) & set(LEFT_ALONE)
    assert not image_suffixes() & {".eps", ".ps", ".wmf", ".emf", ".pdf", ".mpg", ".h5", ".txt"}


@pytest.mark.parametrize("name", ["x.jpg", "x.eps"])
def test_postscript_starts_no_program_whatever_its_name_is(tmp_path, name, monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    write_image(tmp_path / "x.png")
    Image.open(tmp_path / "x.png").save(tmp_path / name, "EPS")
    assert is_image(tmp_path / name) == (name == "x.jpg")
    with pytest.raises(DataError, match="not an image, whatever its name says"):
        read_image(tmp_path / name)


GRAY = np.linspace(0, 65535, 64).reshape(8, 8)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".png", np.uint16), (".tif", np.uint16), (".tif", np.int32)]
)
def test_gray_of_16_bits_is_scaled(tmp_path, suffix, dtype):
    Image.fromarray(GRAY.astype(dtype)).save(tmp_path / f"x{suffix}")
    assert np.abs(np.asarray(read_image(tmp_path / f"x{suffix}"))[..., 0] - GRAY / 257).max() <= 1


def test_a_dark_image_of_a_format_of_16_bits_is_dark(tmp_path):
    (tmp_path / "x.pgm").write_bytes(b"P5 8 8 65535\n" + b"\0\xff" * 64)
    assert np.asarray(read_image(tmp_path / "x.pgm")).max() == 1


@pytest.mark.parametrize(
    ("values", "shown"),
    [(GRAY * 16384, "0 to 1073725440"), (GRAY / 257, "0 to 255"), (GRAY - 9, "-9 to 65526")],
)
def test_gray_of_32_bits_of_unknown_range_is_refused(tmp_path, values, shown):
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=rf"unknown range, here {shown}: save it with 8 or 16"):
        read_image(tmp_path / "x.tif")
