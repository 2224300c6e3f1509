"""Images as columns: the same paths and samples as objects, in a tenth of the memory."""

import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from images import write_classes

from covtool.data.datasets import image_paths
from covtool.data.datasets.fingerprint import fingerprint
from covtool.data.datasets.found_images import LabeledPaths
from covtool.data.datasets.image_paths import (
    ImagePaths,
    ImagePathsBuilder,
    all_below,
    texts_below,
)
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import FileSamples, Sample, draw_evenly, samples_of

TEXTS = (
    "a/b/1.jpg",
    "/a/b/2.jpg",
    "3.jpg",
    "/4.jpg",
    "a/ä ö/é\u0301.png",
    "../up/5.jpg",
    "a/b/\udcff.jpg",  # a name that is no text
    "a/b/1.jpg",
)
PATHS = tuple(map(Path, TEXTS))
SAMPLES = tuple(map(Sample, PATHS, (3, 1, 4, 1, 5, 9, 2, 6)))


def columns() -> FileSamples:
    return samples_of(list(PATHS), [sample.label for sample in SAMPLES])


def test_paths_come_back_as_they_were() -> None:
    paths = ImagePaths.of_texts(map(os.fspath, PATHS))
    assert tuple(paths) == PATHS == tuple(paths[row] for row in range(len(paths)))
    assert tuple(paths.texts()) == tuple(map(str, PATHS))
    assert paths[-1] == PATHS[-1]
    with pytest.raises(IndexError):
        paths[len(PATHS)]


@pytest.mark.parametrize("place", [".", "a/b", "/a", "/", "../c"])
def test_paths_by_folder_are_those_below_it(place: str) -> None:
    names = ["1.jpg", "ä.png"]
    paths = ImagePaths.in_folders([(Path(place), names), (Path("empty"), [])])
    assert list(paths) == [Path(place) / name for name in names]
    assert list(paths.texts()) == [str(Path(place) / name) for name in names]
    below = texts_below(Path(place))
    for text in (*TEXTS, "./x.jpg", "a//x.jpg", "a/./x.jpg", "x/", "a/../x.jpg"):
        assert below(text) == str(Path(place) / text)


def test_parts_of_paths_are_those_of_a_list() -> None:
    paths = ImagePaths.of_texts(TEXTS)
    assert list(paths[2:7:2]) == list(PATHS[2:7:2])
    assert list(paths.only([5, 0, 5])) == [PATHS[5], PATHS[0], PATHS[5]]
    assert paths.only([0, 7]).folders == ("a/b/",)
    joined = ImagePaths.joined([paths[:3], ImagePaths.of_texts([]), paths[3:]])
    assert joined == paths == list(PATHS)


def test_samples_are_those_of_a_tuple() -> None:
    samples = columns()
    assert samples == SAMPLES
    assert samples[3] == SAMPLES[3]
    assert samples[::3] == SAMPLES[::3]
    assert pickle.loads(pickle.dumps(samples)) == SAMPLES
    assert samples != SAMPLES[:-1]
    assert samples + samples[:2] == samples + SAMPLES[:2] == SAMPLES + SAMPLES[:2]


def test_draws_and_fingerprints_are_those_of_a_tuple() -> None:
    samples = columns()
    assert draw_evenly(samples, 4, seed=3) == draw_evenly(SAMPLES, 4, seed=3)
    for root in (Path("a"), Path("/a/b"), Path(), Path("../up")):
        assert fingerprint(samples, root) == fingerprint(SAMPLES, root)


def test_parts_of_images_stay_what_they_are(tmp_path: Path) -> None:
    class Part:
        def __fspath__(self) -> str:
            return "part"

    parts = [Part(), Part()]
    assert samples_of(parts, [0, 1]) == tuple(map(Sample, parts, (0, 1)))


def test_labeled_paths_are_pairs() -> None:
    found = LabeledPaths.of(ImagePaths.of_texts(TEXTS[:3]), iter(["cat", "dog", "cat"]))
    pairs = list(zip(PATHS[:3], ["cat", "dog", "cat"], strict=True))
    assert found == pairs
    assert found[1] == pairs[1]
    assert found.classes() == {"cat", "dog"}
    assert found.labels({"cat": 7, "dog": 2}).tolist() == [7, 2, 7]


def test_a_data_set_that_is_scanned_is_columns(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": 2, "dog": 2})
    write_classes(tmp_path / "val", {"cat": 1, "dog": 1})
    for layout in (scan(tmp_path), scan(tmp_path / "train", val_fraction=0.5)):
        assert all(isinstance(samples, FileSamples) for samples in layout.splits.values())


def test_an_image_takes_40_bytes() -> None:
    count = 20_000
    texts = [f"/data/train/class_{n % 100:03}/IMG_{n:08}.jpg" for n in range(count)]
    tracemalloc.start()
    samples = samples_of(ImagePaths.of_texts(texts), np.zeros(count, np.int32))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 40 * count
    assert len(pickle.dumps(samples)) < 40 * count
    # A worker that reads all of them changes no count of references: there are no such objects.
    assert sys.getsizeof(samples) < 100


def test_paths_that_come_many_at_a_time_are_as_if_they_came_one_by_one() -> None:
    one, many = ImagePathsBuilder(), ImagePathsBuilder()
    for text in TEXTS:
        one.append(text)
    for start in range(0, len(TEXTS), 3):
        many.extend(TEXTS[start : start + 3])
    many.extend(())
    assert tuple(many.done().texts()) == tuple(one.done().texts()) == TEXTS
    assert many.done() == one.done()


def test_paths_by_folder_are_all_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = ImagePaths.of_texts(TEXTS)
    monkeypatch.setattr(image_paths, "AT_ONCE", 2)
    found = {}
    for folder, count, parts in paths.by_folder():
        before = len(found)
        for places, names in parts:
            found |= dict(zip(places, (folder + name for name in names), strict=True))
        assert len(found) - before == count
    assert found == dict(enumerate(TEXTS))
    assert list(ImagePaths.of_texts(()).by_folder()) == []


ODD = ("./a.jpg", "/a.jpg", "a//b.jpg", "a/./b.jpg", "a/../b.jpg", ".hidden.jpg", "a/", "a/.b.jpg")


@pytest.mark.parametrize("folder", [Path(), Path("data"), Path("/data/ä")])
def test_many_paths_below_a_folder_are_those_of_each(folder: Path) -> None:
    plain = ("a.jpg", "a b/ü.jpg", "c/d/e.jpg", "a..b/c.jpg")
    for texts in ((), plain, *((*plain, odd, *plain) for odd in ODD)):
        assert all_below(folder, texts) == list(map(texts_below(folder), texts))
        assert all_below(folder, texts) == [os.fspath(folder / text) for text in texts]
