import numpy as np
import pytest
from images import truncate, write_classes, write_image
from PIL import Image

from covtool.data.datasets.checking import check_images
from covtool.data.datasets.reading import scan
from covtool.data.images.decoding import read_image
from covtool.errors import DataError

GRADIENT = np.linspace(0, 255, 64).reshape(8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb_with_its_whole_range(tmp_path, mode) -> None:
    if mode == "I;16":
        image = Image.fromarray((GRADIENT * 257).astype(np.uint16))
    else:
        image = Image.fromarray(GRADIENT.astype(np.uint8)).convert("RGB")
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    suffix = ".tif" if mode == "CMYK" else ".png"
    image.save(tmp_path / f"x{suffix}")
    read = read_image(tmp_path / f"x{suffix}")
    assert read.mode == "RGB"
    near = 255 if mode == "1" else 8
    assert np.abs(np.asarray(read)[..., 1] - GRADIENT).max() <= near
    assert np.asarray(read).max() > 240


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path) -> None:
    image = Image.fromarray(GRADIENT.astype(np.uint8)).convert("P")
    image.save(tmp_path / "x.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "x.png").mode == "RGB"


def test_gray_is_the_luminance_in_three_equal_channels(tmp_path) -> None:
    path = write_image(tmp_path / "x.png")
    gray = np.asarray(read_image(path, gray=True))
    assert (gray == np.asarray(Image.open(path).convert("L"))[..., None]).all()


def test_unreadable_images_are_named_with_the_reason(tmp_path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    truncate(write_image(tmp_path / "half.jpg", size=(64, 64)))
    Image.fromarray(GRADIENT.astype(np.float32)).save(tmp_path / "float.tif")
    for name, reason in {
        "empty.png": "The file is empty",
        "text.png": "not an image, whatever its name says",
        "half.jpg": "truncated",
        "float.tif": "unknown range",
        "missing.png": "no such file",
    }.items():
        with pytest.raises(DataError, match=rf"(?s){name} cannot be read.*{reason}"):
            read_image(tmp_path / name)


def _with_bad(folder):
    samples = scan(write_classes(folder, {"a": 4, "b": 3})).splits["train"]
    truncate(samples[1].path)
    samples[5].path.write_bytes(b"")
    return samples


def test_bad_images_are_skipped_and_listed(tmp_path) -> None:
    samples = _with_bad(tmp_path)
    checked = check_images(samples, on_bad_image="skip", workers=2)
    assert checked.good == tuple(s for i, s in enumerate(samples) if i not in (1, 5))
    assert [path for path, _ in checked.bad] == [samples[1].path, samples[5].path]
    assert checked.bad[1][1] == "The file is empty."


def test_bad_images_are_an_error_unless_asked_otherwise(tmp_path) -> None:
    samples = _with_bad(tmp_path)
    with pytest.raises(DataError, match=r"(?s)2 of 7 images.*001\.png.*--on-bad-image skip"):
        check_images(samples)
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        check_images(samples[1:2], on_bad_image="skip")


def test_the_check_reports_its_progress(tmp_path) -> None:
    seen = []

    def track(iterable, description, total):
        seen.append((description, total))
        return iter(iterable)

    samples = scan(write_classes(tmp_path, {"a": 2, "b": 1})).splits["train"]
    assert check_images(samples, track=track).good == samples
    assert seen == [("checking images", 3)]
