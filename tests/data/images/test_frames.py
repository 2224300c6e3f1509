"""Of an animation the first image is read, and that is said."""

import pytest
from images import write_image
from PIL import Image

from covtool.data.datasets.checking import check_splits, notes_on_images
from covtool.data.datasets.samples import Sample
from covtool.data.images.decoding import decode_image
from covtool.data.images.frames import note_on_frames

COLORS = [(200, 30, 30), (30, 200, 30)]


def _write(path, count):
    first, *others = (Image.new("RGB", (16, 16), color) for color in COLORS[:count])
    first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif", ".avif"])
@pytest.mark.parametrize("count", [1, 2])
def test_animations_and_pages_are_counted(tmp_path, suffix, count):
    decoded = decode_image(_write(tmp_path / f"x{suffix}", count))
    assert decoded.has_frames == (count == 2)
    assert decoded.image.getpixel((8, 8))[0] > 150  # the first one, as `has_frames` looks further


def test_previews_of_a_camera_are_no_animation(tmp_path):
    assert not decode_image(_write(tmp_path / "x.mpo", 2)).has_frames


def test_a_damaged_second_image_does_not_harm_the_first(tmp_path):
    whole = _write(tmp_path / "x.gif", 2).read_bytes()
    (tmp_path / "cut.gif").write_bytes(whole[:-20])
    assert decode_image(tmp_path / "cut.gif").image.size == (16, 16)


def test_the_files_of_all_splits_are_said_in_one_line(tmp_path):
    samples = [Sample(_write(tmp_path / f"{at}.gif", 2), 0) for at in range(3)]
    samples.append(Sample(write_image(tmp_path / "x.png"), 0))
    checked = check_splits({"train": samples[:2], "val": samples[2:]})
    (note,) = notes_on_images(checked.values(), exif=False)
    assert note.startswith("3 files hold several images")
    assert note_on_frames(0) is None
    assert note_on_frames(1).startswith("1 file holds")
