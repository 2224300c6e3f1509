"""Runs say what stands out in their data set: a line each, and once for several runs."""

import shutil

import pytest
from PIL import Image
from toy_data import write_toy_data
from training_runs import Recorder, make_request, power_cut

from covtool.data.datasets import duplicates
from covtool.run_files import ARGUMENTS
from covtool.training import finetune, repeat_finetune, resume_finetune

LINES = (
    "Classes of 'train' are uneven: 'blue' has 20 images, 'green' has 2 images.",
    "2 classes of 'train' have fewer than 5 images: green (2), red (2).",
    "Images have several formats: ",
)


@pytest.fixture
def data(tmp_path):
    """Twenty blue images, twelve of them equal, and two of each other color; one is a JPEG."""
    root = write_toy_data(tmp_path / "toy", train=20, val=2)
    for color in ("green", "red"):
        for number in range(2, 20):
            (root / f"train/{color}/{number}.png").unlink()
    for number in range(1, 12):
        shutil.copy(root / "train/blue/0.png", root / f"train/blue/{number}.png")
    turned = root / "train/blue/15.png"
    Image.open(turned).save(turned.with_suffix(".jpg"))
    turned.unlink()
    return root


@pytest.fixture
def compared(monkeypatch):
    """The files whose sizes were asked for, to compare them."""
    asked = []
    size = duplicates._size
    monkeypatch.setattr(duplicates, "_size", lambda path: (asked.append(path), size(path))[1])
    return asked


def count_of(line, observer):
    return sum(note.startswith(line) for note in observer.notes)


def test_a_run_says_them_and_its_resumption_does_not(data, tmp_path, compared):
    first = Recorder(at_epoch=1, do=power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        finetune(make_request(data, tmp_path / "runs", experiment="one"), observer=first)
    assert [count_of(line, first) for line in LINES] == [1, 1, 1]
    assert "Images have several formats: 29 PNG, 1 JPEG." in first.notes
    assert len(compared) == len(set(compared)) == 30
    again = Recorder()
    resume_finetune(next((tmp_path / "runs").rglob(ARGUMENTS)).parent, observer=again)
    assert [count_of(line, again) for line in LINES] == [0, 0, 0]
    assert len(compared) == 30


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_run_that_decodes_into_a_cache_says_the_formats_too(data, tmp_path, cache):
    settings = {"cache": cache, "epochs": 1}
    if cache == "disk":
        settings["cache_dir"] = str(tmp_path / "cache")
    for expected in (1, 0 if cache == "disk" else 1):  # a mapped file is not decoded again
        seen = Recorder()
        finetune(make_request(data, tmp_path / "runs", **settings), observer=seen)
        assert seen.notes.count("Images have several formats: 29 PNG, 1 JPEG.") == expected


@pytest.mark.parametrize("several", [{"folds": 2}, {"seeds": 2}])
def test_several_runs_say_them_once_and_compare_no_file_twice(data, tmp_path, compared, several):
    seen = Recorder()
    repeat_finetune(make_request(data, tmp_path / "runs", epochs=1, **several), observer=seen)
    assert [count_of(line, seen) for line in LINES] == [1, 1, 1]
    assert len(compared) == len(set(compared)) == (24 if "folds" in several else 30)
    assert sum(note.startswith("Run ") for note in seen.notes) == 2
    if "folds" in several:
        (leak,) = (note for note in seen.notes if "byte for byte" in note)
        assert leak.startswith("12 images in several folds are equal")
