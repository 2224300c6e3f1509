"""Pictures: the pixels of `decode_image`, or of JPEG files a fraction of them."""

import io

import numpy as np
import pytest
from images import photograph, truncate
from PIL import Image

from covtool.data.images.decoding import decode_image
from covtool.data.images.jpeg import DIVISORS, JpegDecoder, scaled
from covtool.data.images.orientation import TURNS
from covtool.data.images.picture import read_picture
from covtool.errors import DataError

SIZE = (37, 53)  # width and height: no multiples of a block's 8 pixels
JPEGS = {
    "color": ("RGB", {"quality": 90}),
    "full chroma": ("RGB", {"subsampling": 0}),
    "half chroma": ("RGB", {"subsampling": 1}),
    "progressive": ("RGB", {"progressive": True}),
    "red, green, blue": ("RGB", {"keep_rgb": True}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "gray": ("L", {}),
}
OTHERS = {
    "CMYK.jpg": ("CMYK", {}),
    "palette.png": ("P", {}),
    "transparent.png": ("RGBA", {}),
    "16-bit.png": ("I;16", {}),
    "gray.png": ("L", {}),
    "color.webp": ("RGB", {"lossless": True}),
    "animated.gif": ("P", {"save_all": True}),
    "color.tif": ("RGB", {}),
}


def written(path, mode, **settings):
    image = photograph(SIZE)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    if settings.get("save_all"):
        settings["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
    image.save(path, **settings)
    return path


def with_orientation(path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    photograph((192, 128)).save(path, exif=exif, quality=90)
    return path


def expected(path, *, gray=False, exif=False):
    pixels = np.asarray(decode_image(path, gray=gray, exif=exif).image)
    return pixels[..., :1] if gray else pixels


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_of_full_size_is_pillows_bit_by_bit(tmp_path, kind, gray):
    mode, settings = JPEGS[kind]
    path = written(tmp_path / "image.jpg", mode, **settings)
    picture = read_picture(path, JpegDecoder(), gray=gray)
    assert picture.encoded == path.stat().st_size
    pixels = picture.pixels()
    assert picture.size == pixels.shape[:2] == SIZE[::-1]
    assert np.array_equal(pixels, expected(path, gray=gray))


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_pillows_and_cannot_be_scaled(tmp_path, name, gray):
    mode, settings = OTHERS[name]
    path = written(tmp_path / name, mode, **settings)
    picture = read_picture(path, JpegDecoder(), gray=gray)
    assert not picture.encoded
    for divisor in (1, 4):
        assert np.array_equal(picture.pixels(divisor), expected(path, gray=gray))


@pytest.mark.parametrize("exif", [False, True])
@pytest.mark.parametrize("tag", [1, *TURNS])
def test_an_orientation_turns_the_picture_where_it_is_applied(tmp_path, tag, exif):
    path = with_orientation(tmp_path / "turned.jpg", tag)
    picture = read_picture(path, JpegDecoder(), exif=exif)
    whole = expected(path, exif=exif)
    assert picture.size == whole.shape[:2]
    assert np.array_equal(picture.pixels(), whole)
    half = np.asarray(Image.fromarray(whole).reduce(2))
    assert np.abs(picture.pixels(2).astype(int) - half).mean() < 2


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("divisor", DIVISORS)
def test_a_fraction_shows_the_same_picture_where_it_is(tmp_path, kind, divisor):
    """No shift, no other colors: the mean of a block of pixels, up to the ends of its filter."""
    mode, settings = JPEGS[kind]
    photograph((320, 240)).convert(mode).save(tmp_path / "image.jpg", **settings)
    picture = read_picture(tmp_path / "image.jpg", JpegDecoder())
    pixels = picture.pixels(divisor)
    if kind == "half chroma":  # across, but not down: libjpeg would leave the colors at a half
        divisor //= 2
    assert pixels.shape[:2] == scaled(picture.size, divisor) == (240 // divisor, 320 // divisor)
    means = np.asarray(decode_image(tmp_path / "image.jpg").image.reduce(divisor), dtype=int)
    assert np.abs(pixels - means).mean() < 1.5


def test_memory_is_used_again_for_smaller_and_larger_pictures(tmp_path):
    decoder = JpegDecoder()
    for number, size in enumerate([(40, 30), (200, 100), (9, 8), (200, 100)]):
        path = tmp_path / f"{number}.jpg"
        photograph(size, seed=number).save(path)
        assert np.array_equal(read_picture(path, decoder).pixels(), expected(path))


def test_of_several_images_in_a_file_the_first_is_taken(tmp_path):
    first, second = photograph(SIZE), photograph((90, 70), seed=1)
    path = tmp_path / "camera.mpo"
    first.save(path, save_all=True, append_images=[second])
    picture = read_picture(path, JpegDecoder())
    assert picture.encoded
    assert np.array_equal(picture.pixels(), expected(path))


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_a_truncated_file_is_refused_in_the_words_of_every_other_reading(tmp_path, name):
    path = tmp_path / name
    photograph((200, 150)).save(path)
    truncate(path)
    with pytest.raises(DataError) as of_pillow:
        decode_image(path)
    with pytest.raises(DataError) as found:
        read_picture(path, JpegDecoder()).pixels()
    assert (found.value.message, found.value.reason) == (
        of_pillow.value.message,
        of_pillow.value.reason,
    )


def test_damage_that_pillow_passes_over_leaves_pillows_pixels(tmp_path):
    path = tmp_path / "stray.jpg"
    photograph((200, 150)).save(path, quality=90)
    content = path.read_bytes()
    # An end of the image in its middle, with bytes behind it: a warning for libjpeg, no error.
    at = len(content) * 2 // 3
    path.write_bytes(content[:at] + b"\xff\xd0" + content[at:])
    assert np.array_equal(read_picture(path, JpegDecoder()).pixels(), expected(path))


def test_a_size_that_the_decoder_does_not_find_is_left_to_pillow():
    file = io.BytesIO()
    photograph((40, 30)).save(file, "jpeg")
    decoder = JpegDecoder()
    assert decoder(file.getvalue(), (30, 40)).shape == (30, 40, 3)
    assert decoder(file.getvalue(), (31, 40)) is None
    assert decoder(b"\xff\xd8\xff", (30, 40)) is None
