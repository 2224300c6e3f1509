"""What kept training embeddings are of: relative paths, classes, digests, and nothing that leads
elsewhere."""

import json
import zlib

import pytest
import torch

from covtool.checkpoints.kept_images import KeptImages
from covtool.data.datasets.samples import Sample
from covtool.errors import ShapeError

NAMES = ("crow", "jay")


@pytest.fixture
def kept(tmp_path):
    folder = tmp_path / "birds"
    for k in range(3):
        path = folder / f"train/{NAMES[k % 2]}/{k}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([k]) * 100)
    elsewhere = tmp_path / "elsewhere.jpg"
    elsewhere.write_bytes(b"x")
    (folder / "train/jay/link.jpg").symlink_to(elsewhere)
    paths = [*sorted(folder.glob("train/*/?.jpg")), folder / "train/jay/link.jpg", elsewhere]
    samples = [
        Sample(path, NAMES.index(path.parent.name) if k < 4 else 0) for k, path in enumerate(paths)
    ]
    return folder, KeptImages.of(samples, NAMES, folder)


def test_paths_are_in_the_data_sets_folder_or_left_out(kept, tmp_path) -> None:
    _, images = kept
    named = ("train/crow/0.jpg", "train/crow/2.jpg", "train/jay/1.jpg", "train/jay/link.jpg", "")
    assert images.paths == named
    assert images.classes == ("crow", "crow", "jay", "jay", "crow")
    assert str(tmp_path) not in images.packed.numpy().tobytes().decode("latin-1")
    assert images.digests[-1] == ""


def test_they_come_back_from_their_bytes(kept) -> None:
    _, images = kept
    assert KeptImages.from_tensor(images.packed) == images
    assert torch.equal(KeptImages.from_tensor(images.packed).packed, images.packed)


def test_a_file_is_the_image_only_with_the_same_bytes(kept, tmp_path) -> None:
    folder, images = kept
    assert images.file(0, folder) == folder / images.paths[0]
    moved = folder.rename(tmp_path / "moved")
    assert images.file(0, folder) is None
    assert images.file(0, moved) == moved / images.paths[0]
    (moved / images.paths[0]).write_bytes(b"another image")
    assert images.file(0, moved) is None
    assert images.file(4, moved) is None


def packed(values) -> torch.Tensor:
    data = zlib.compress(json.dumps(values).encode())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


GOOD = {"paths": ["a.jpg"], "classes": ["a"], "digests": ["00"]}
HOSTILE = {
    "no compression": torch.zeros(10, dtype=torch.uint8),
    "floats": torch.zeros(10),
    "no names": packed([1, 2]),
    "a name more": packed({**GOOD, "more": []}),
    "numbers": packed({**GOOD, "paths": [1]}),
    "of other lengths": packed({**GOOD, "classes": []}),
    "a path that climbs": packed({**GOOD, "paths": ["../../etc/passwd"]}),
    "a path from the root": packed({**GOOD, "paths": ["/etc/passwd"]}),
    "a NUL": packed({**GOOD, "paths": ["a\0b"]}),
    "cut off": packed(GOOD)[:-3],
}


@pytest.mark.parametrize("tensor", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_such_list_is_refused(tensor) -> None:
    with pytest.raises(ShapeError):
        KeptImages.from_tensor(tensor)


def test_a_list_that_unpacks_to_more_than_the_bound_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("covtool.checkpoints.kept_images.LARGEST", 100)
    many = {name: ["a"] * 1000 for name in GOOD}
    with pytest.raises(ShapeError, match="too many"):
        KeptImages.from_tensor(packed(many))
