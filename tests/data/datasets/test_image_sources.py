"""Images to describe, however somebody points at them."""

import pytest
from images import write_classes, write_image
from published_trees import TREES
from retrieval_trees import write_csv, write_market

from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.image_sources import find_images
from covtool.errors import DataError


def told(source):
    return {
        split: [
            (s.path.relative_to(source.folder).as_posix(), s.identity, s.camera) for s in samples
        ]
        for split, samples in source.splits.items()
    }


def test_a_data_set_for_retrieval_tells_everything(tmp_path):
    source = find_images(write_csv(tmp_path))
    assert list(source.splits) == ["train", "query", "gallery"]
    assert told(source)["query"] == [("c/1.png", "cleo", "c1"), ("d/1.png", "dan", "c1")]
    assert source.chosen("query") == {"query": source.splits["query"]}
    with pytest.raises(DataError, match=r"no split called 'test'\.\nIt has: train, query, gallery"):
        source.chosen("test")
    assert list(find_images(write_market(tmp_path / "market")).chosen(None)) == [
        "train",
        "query",
        "gallery",
    ]


def test_a_class_is_an_identity(tmp_path):
    write_classes(tmp_path / "data", {"a": 1, "b": 2})
    assert told(find_images(tmp_path / "data")) == {
        UNSPLIT: [("a/000.png", "a", None), ("b/000.png", "b", None), ("b/001.png", "b", None)]
    }
    for split in ("train", "val"):
        write_classes(tmp_path / "splits" / split, {"a": 1})
    assert told(find_images(tmp_path / "splits")) == {
        "train": [("train/a/000.png", "a", None)],
        "val": [("val/a/000.png", "a", None)],
    }


def test_of_any_other_folder_all_images_are_taken(tmp_path):
    write_image(tmp_path / "b.png")
    write_image(tmp_path / "deep" / "er" / "a.JPG")
    (tmp_path / "notes.txt").write_text("?")
    assert told(find_images(tmp_path)) == {
        UNSPLIT: [("b.png", "", None), ("deep/er/a.JPG", "", None)]
    }
    assert told(find_images(tmp_path / "b.png")) == {UNSPLIT: [("b.png", "", None)]}


def test_a_list_may_hold_nothing_but_paths(tmp_path):
    for name in ("b.png", "a.png"):
        write_image(tmp_path / "images" / name)
    (tmp_path / "list.txt").write_text("images/b.png\n\n images/a.png \n")
    expected = {UNSPLIT: [("images/b.png", "", None), ("images/a.png", "", None)]}
    assert told(find_images(tmp_path / "list.txt")) == expected
    (tmp_path / "list.csv").write_text("path\nimages/b.png\nimages/a.png\n")
    assert told(find_images(tmp_path / "list.csv")) == expected
    (tmp_path / "list.csv").write_text("label,path,camera\nx,images/b.png,\ny,images/a.png,3\n")
    assert told(find_images(tmp_path / "list.csv")) == {
        UNSPLIT: [("images/b.png", "x", None), ("images/a.png", "y", "3")]
    }


def test_what_holds_no_images_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no images in"):
        find_images(tmp_path)
    (tmp_path / "list.txt").write_text("images/z.png\n")
    with pytest.raises(DataError, match=r"1 of 1 images .* are not there"):
        find_images(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(DataError, match="no images in"):
        find_images(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xff\n")
    with pytest.raises(DataError, match="not text in UTF-8"):
        find_images(tmp_path / "list.txt")
    (tmp_path / "x.pdf").touch()
    with pytest.raises(DataError, match=r"neither a folder nor a list .*\nA list is"):
        find_images(tmp_path / "x.pdf")


@pytest.mark.parametrize("name", ["path-list", "coco-file", "imagenette-csv", "cub-200-2011"])
def test_published_lists_tell_labels_and_splits(name, tmp_path) -> None:
    tree = TREES[name](tmp_path / "data")
    source = find_images(tree.root)
    told = {
        split: sorted((str(s.path.relative_to(source.folder)), s.identity) for s in samples)
        for split, samples in source.splits.items()
    }
    assert told == {split: sorted(listed) for split, listed in tree.splits.items()}
    assert f"Read as {name}" in source.notes[0]


def test_any_other_folder_is_taken_whole_without_labels(tmp_path) -> None:
    for place in ("train/1.png", "test/2.png", "images/3.png"):
        write_image(tmp_path / place)
    source = find_images(tmp_path)
    assert [s.identity for s in source.splits[UNSPLIT]] == ["", "", ""]
    assert "without labels" in source.notes[0]
