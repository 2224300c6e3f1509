import sys

import pytest
from PIL import Image

from covtool.data.datasets import embedded
from covtool.data.datasets.embedded import make_texture_dataset
from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError, OutputExistsError


def test_the_embedded_data_set_is_a_trainable_one_and_always_the_same(tmp_path) -> None:
    made = make_texture_dataset(tmp_path / "textures")
    layout = scan(made.folder)
    require_trainable(layout)
    assert layout.class_names == made.class_names
    assert len(layout.splits["train"]) == made.train_images
    assert len(layout.splits["val"]) == made.test_images
    again = scan(make_texture_dataset(tmp_path / "again").folder)
    for one, other in zip(layout.splits["val"], again.splits["val"], strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_train_and_test_are_cut_from_regions_that_do_not_touch() -> None:
    for texture in embedded.TEXTURES:
        for a in texture.train:
            for b in texture.test:
                gap_x = max(a[0], b[0]) - min(a[2], b[2])
                gap_y = max(a[1], b[1]) - min(a[3], b[3])
                assert max(gap_x, gap_y) >= 10, texture.name


def test_the_regions_lie_inside_the_photographs() -> None:
    for texture in embedded.TEXTURES:
        with Image.open(embedded._photographs() / texture.photograph) as image:
            width, height = (side // texture.shrink for side in image.size)
        for left, top, right, low in (*texture.train, *texture.test):
            assert 0 <= left < right <= width, texture.name
            assert 0 <= top < low <= height, texture.name


def test_what_is_there_already_is_replaced_only_when_asked(tmp_path) -> None:
    (tmp_path / "train" / "mine").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="train already exists"):
        make_texture_dataset(tmp_path)
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["mine"]
    make_texture_dataset(tmp_path, overwrite=True)
    assert not (tmp_path / "train" / "mine").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "test", "train"]


def test_a_missing_scikit_image_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"(?s)scikit-image, which is not installed.*\[demo\]"):
        make_texture_dataset(tmp_path / "textures")
    assert "skimage" not in sys.modules
    assert not (tmp_path / "textures").exists()
