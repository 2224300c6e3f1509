"""Image files that are damaged, lie or cost too much are bad images, said in one line."""

import io
import os
import random
import struct
import subprocess
import warnings
import zlib

import numpy as np
import pytest
from odd_paths import put
from PIL import Image

from covtool.data.datasets.checking import check_images
from covtool.data.datasets.samples import Sample
from covtool.data.images.bounds import MOST_PIXELS, SLOWER_IN_PYTHON, VARIABLE, pixels_up_to
from covtool.data.images.boxed import BoxedImage
from covtool.data.images.decoder_complaints import Complaints
from covtool.data.images.decoding import decode_image, image_size, read_image
from covtool.errors import ArgumentError, DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)

WRITTEN = {
    "png": {"format": "PNG"},
    "palette": {"format": "PNG", "mode": "P"},
    "jpeg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "mpo": {"format": "MPO", "save_all": True, "append_images": [PICTURE]},
    "gif": {"format": "GIF", "mode": "P"},
    "bmp": {"format": "BMP"},
    "tiff": {"format": "TIFF"},
    "lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "jpeg in tiff": {"format": "TIFF", "compression": "jpeg"},
    "fax": {"format": "TIFF", "mode": "1", "compression": "group4"},
    "webp": {"format": "WEBP"},
    "ppm": {"format": "PPM"},
    "ico": {"format": "ICO"},
    "tga": {"format": "TGA", "compression": "tga_rle"},
    "pcx": {"format": "PCX"},
    "sgi": {"format": "SGI"},
    "jpeg 2000": {"format": "JPEG2000"},
    "avif": {"format": "AVIF"},
    "dds": {"format": "DDS"},
    "msp": {"format": "MSP", "mode": "1"},
    "xbm": {"format": "XBM", "mode": "1"},
    "qoi": {"format": "QOI"},
}
DIRT = (b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"-1", b"%")
MUTATIONS = 25


def encoded(*, mode="RGB", format, **how) -> bytes:
    file = io.BytesIO()
    PICTURE.convert(mode).save(file, format, **how)
    return file.getvalue()


def mutated(content: bytes, generator: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 4))):
        at = generator.randrange(min(len(data), 400 if generator.random() < 0.7 else len(data)))
        kind = generator.randrange(4)
        if kind == 0:
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            dirt = generator.choice(DIRT)
            data[at : at + len(dirt)] = dirt
        elif kind == 2:
            del data[at : at + generator.choice((1, 4, 20))]
        else:
            del data[max(at, 1) :]
    return bytes(data)


@pytest.mark.parametrize("kind", WRITTEN)
def test_whatever_the_bytes_an_image_is_read_or_refused_in_silence(kind, tmp_path, capfd):
    content, generator = encoded(**WRITTEN[kind]), random.Random(kind)
    path = tmp_path / "x.jpg"
    for number in range(MUTATIONS):
        path.write_bytes(mutated(content, generator) if number else content)
        for look in (decode_image, image_size):
            try:
                look(path)
            except DataError as problem:
                assert number, problem
                assert problem.reason.isprintable()
    assert capfd.readouterr() == ("", "")


def test_warnings_of_others_are_left_to_them(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(encoded(format="TIFF")[:-30])
    with pytest.warns(UserWarning, match="of another"):
        warnings.warn("of another", UserWarning, stacklevel=1)
        with pytest.raises(DataError):
            read_image(path)
    with pytest.raises(UserWarning, match="as before"):
        warnings.warn("as before", UserWarning, stacklevel=1)


def test_what_libtiff_finds_damaged_is_no_image_though_it_has_pixels(tmp_path):
    """Damaged fax data are decoded as far as they go, and said on stderr only."""
    content = bytearray(encoded(format="TIFF", mode="1", compression="group4"))
    Image.open(io.BytesIO(content)).load()
    start = Image.open(io.BytesIO(content)).tag_v2[273][0]
    content[start + 8 : start + 16] = b"\x55" * 8
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(DataError, match="damaged: Fax"):
        read_image(tmp_path / "x.tif")


def test_a_tiff_that_lost_a_tag_that_says_what_it_is_is_damaged():
    image = Image.open(io.BytesIO(encoded(format="TIFF")))
    Complaints(warnings=["Tag data larger than file. Skipping tag 33432"]).require_none(image)
    for text in ("Skipping tag 317", "Corrupt EXIF data. Expecting to read 12 bytes"):
        with pytest.raises(ValueError, match=f"damaged: {text}"):
            Complaints(warnings=[text]).require_none(image)
        Complaints(warnings=[text]).require_none(Image.open(io.BytesIO(encoded(format="PNG"))))


def test_a_tiff_whose_strips_end_before_it_does_is_damaged(tmp_path):
    content = encoded(format="TIFF", mode="L")
    height = struct.pack("<HHII", 257, 4, 1, 24)
    assert height in content or struct.pack("<HHIHH", 257, 3, 1, 24, 0) in content
    for entry in (height, struct.pack("<HHIHH", 257, 3, 1, 24, 0)):
        content = content.replace(entry, struct.pack("<HHII", 257, 4, 1, 24_000))
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(DataError, match=r"less than its 32 x 24,000 pixels|truncated"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_that_is_to_be_turned_is_whole(tmp_path, orientation, compression):
    exif = Image.Exif()
    exif[0x112] = orientation
    PICTURE.save(tmp_path / "x.tif", exif=exif, compression=compression)
    assert read_image(tmp_path / "x.tif").size == ((32, 24) if orientation < 5 else (24, 32))


def white(path, width, height):
    """A PNG of any size, which few bytes make."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


def test_an_image_of_too_many_pixels_is_a_bad_one_that_says_how_many(tmp_path):
    path = white(tmp_path / "x.png", 100_000, 100_000)
    with pytest.raises(DataError, match=r"It has 10,000,000,000 pixels, more than the 178,956,970"):
        read_image(path)
    good = tmp_path / "y.png"
    PICTURE.save(good)
    checked = check_images([Sample(path, 0), Sample(good, 0)], on_bad_image="skip")
    assert [sample.path for sample in checked.good] == [good]
    assert "10,000,000,000 pixels" in checked.bad[0][1]


def test_the_number_of_pixels_can_be_set(tmp_path, monkeypatch):
    PICTURE.save(tmp_path / "x.png")
    with (
        pixels_up_to(24 * 32 - 1),
        pytest.raises(DataError, match=r"It has 32 x 24 pixels, more than the 767"),
    ):
        read_image(tmp_path / "x.png")
    read_image(tmp_path / "x.png")
    bound = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)  # put back afterwards
    large = white(tmp_path / "y.png", 1, MOST_PIXELS + 1)
    with pixels_up_to(MOST_PIXELS + 1):
        assert image_size(large) == (1, MOST_PIXELS + 1)
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(ArgumentError, match="must be a number of pixels"):
        read_image(tmp_path / "x.png")


def test_formats_that_pillow_decodes_in_python_may_have_fewer_pixels(tmp_path):
    side = int((MOST_PIXELS / SLOWER_IN_PYTHON) ** 0.5) + 1
    header = b"qoif" + struct.pack(">IIBB", side, side, 3, 0)
    (tmp_path / "x.qoi").write_bytes(header + b"\xfd" * 10)
    with pytest.raises(DataError, match="of a QOI like this one, which takes long"):
        read_image(tmp_path / "x.qoi")


def test_a_jpeg_with_thousands_of_scans_is_refused(tmp_path):
    file = io.BytesIO()
    Image.new("L", (3000, 3000)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    scan = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "x.jpg").write_bytes(content[:-2] + 1000 * scan + content[-2:])
    with pytest.raises(DataError, match=r"It has 1,0\d\d scans of 3,000 x 3,000 pixels"):
        read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "circle", "nothing"])
def test_what_is_no_file_is_neither_waited_for_nor_read(kind, tmp_path):
    path = tmp_path / "x.png"
    put(kind, path)
    with pytest.raises(DataError):
        read_image(path)
    with pytest.raises(DataError):
        BoxedImage(path, (0, 0, 4, 4)).open()


def test_no_format_starts_a_program(tmp_path, monkeypatch):
    def start(*_, **__):
        raise AssertionError("A program was started.")

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    monkeypatch.setattr(os, "system", start)
    (tmp_path / "x.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments"
    )
    with pytest.raises(DataError, match="not an image, whatever its name says"):
        read_image(tmp_path / "x.jpg")


def test_a_name_with_escapes_is_shown_with_them_escaped(tmp_path):
    path = tmp_path / "a\x1b[2J\nb\udc80.png"
    path.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert r"a\x1b[2J\nb\udc80.png" in caught.value.message
