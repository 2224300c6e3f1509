"""Folders as people have them: masks among images, splits in classes, parts that are missing."""

import json
import os
from pathlib import Path

import pytest
from images import write_classes, write_image

from covtool.data.datasets.folders.masks import without_masks
from covtool.data.datasets.image_paths import ImagePaths
from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import task_of
from covtool.data.images.decoding import read_image
from covtool.errors import DataError

TWO = {"cat": 2, "dog": 2}


def sizes(root: Path) -> dict[str, int]:
    layout = scan(root)
    return {layout.split_names[key]: len(samples) for key, samples in layout.splits.items()}


def notes(root: Path) -> str:
    return "\n".join(scan(root).notes)


def test_masks_in_folders_beside_the_images_of_a_class_are_left_out(tmp_path: Path) -> None:
    for name in TWO:
        write_classes(tmp_path / name, {"images": 2, "masks": 2})
    assert sizes(tmp_path) == {"all": 4}
    assert "4 masks in the class folders" in notes(tmp_path)


def test_masks_that_are_named_after_an_image_are_left_out(tmp_path: Path) -> None:
    names = ("a (1).png", "a (1)_mask.png", "a (1)_mask_1.png", "no_mask.png")
    paths = ImagePaths.of_texts(str(tmp_path / name) for name in names)
    assert [p.name for p in without_masks(tmp_path, paths)] == ["a (1).png", "no_mask.png"]


def test_a_class_of_masks_alone_keeps_them(tmp_path: Path) -> None:
    names = ("1.png", "2.png")
    paths = ImagePaths.of_texts(str(tmp_path / "masks" / name) for name in names)
    assert without_masks(tmp_path, paths) == paths


def test_splits_inside_the_class_folders_are_splits(tmp_path: Path) -> None:
    for name in TWO:
        write_classes(tmp_path / name, {"train": 3, "test": 1})
    assert sizes(tmp_path) == {"train": 6, "test": 2}
    assert scan(tmp_path).class_names == ("cat", "dog")
    assert "each holds the splits" in notes(tmp_path)


def test_a_folder_of_data_sets_asks_for_one(tmp_path: Path) -> None:
    for name in ("birds", "cars"):
        for split in ("train", "val"):
            write_classes(tmp_path / name / split, TWO)
    with pytest.raises(DataError, match="holds 2: birds, cars"):
        scan(tmp_path)


@pytest.mark.parametrize("name", ["val.zip", "val.tar.gz", "validation.tar"])
def test_an_archive_of_a_split_is_not_replaced_by_the_training_images(
    tmp_path: Path, name: str
) -> None:
    write_classes(tmp_path / "train", TWO)
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DataError, match="is not unpacked"):
        scan(tmp_path).evaluation_samples()
    with pytest.raises(DataError, match=r"nothing to validate on.(.|\n)*is not unpacked"):
        require_trainable(scan(tmp_path))


def test_a_split_that_is_a_link_to_nowhere_is_not_replaced(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", TWO)
    (tmp_path / "val").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="leads nowhere"):
        scan(tmp_path).evaluation_samples()


def test_a_class_that_is_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    write_classes(tmp_path, TWO)
    (tmp_path / "bird").symlink_to(tmp_path / "gone")
    assert "that lead nowhere left out: bird" in notes(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    write_classes(tmp_path / "cat", {"a": 2})
    write_classes(tmp_path / "dog", {"a": 2})
    (tmp_path / "dog" / "a").chmod(0)
    with pytest.raises(DataError, match="cannot be read"):
        scan(tmp_path)
    (tmp_path / "dog" / "a").chmod(0o755)


def test_a_folder_of_the_same_classes_is_not_passed_over_for_the_training_images(
    tmp_path: Path,
) -> None:
    write_classes(tmp_path / "train", TWO)
    write_classes(tmp_path / "holdout", TWO)
    with pytest.raises(DataError, match="holdout does not have the name of a split"):
        scan(tmp_path).evaluation_samples()
    assert len(scan(tmp_path).samples("train")) == 4


def test_a_folder_with_more_words_is_a_split_beside_one_of_the_same_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "train_mini", TWO)
    write_classes(tmp_path / "val", TWO)
    assert sizes(tmp_path) == {"train_mini": 4, "val": 4}


def test_classes_in_another_spelling_are_no_data_for_retrieval(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"Cat": 2, "001.Dog": 2})
    write_classes(tmp_path / "val", {"cat": 1, "dog": 1})
    assert task_of(tmp_path) == "classification"
    with pytest.raises(DataError, match="'val' that 'train' lacks: cat, dog"):
        scan(tmp_path)


def test_classes_that_differ_in_spelling_only_are_told(tmp_path: Path) -> None:
    write_classes(tmp_path, {"great tit": 2, "Great_Tit": 2, "dog": 2})
    assert "differ only in spelling: 'Great_Tit' and 'great tit'" in notes(tmp_path)


@pytest.mark.parametrize(
    ("root", "file"),
    [
        ("images", "train_test_split.txt"),
        ("images", "meta/train.json"),
        ("", "TrainImages.txt"),
        ("", "lists/test.csv"),
    ],
)
def test_lists_that_may_tell_splits_are_told_where_none_are_read(
    tmp_path: Path, root: str, file: str
) -> None:
    write_classes(tmp_path / "images", TWO)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("something")
    assert "they may define splits" in notes(tmp_path / root)
    assert Path(file).name in notes(tmp_path / root)


def test_the_example_of_a_line_is_of_the_split_that_has_no_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", TWO)
    write_image(tmp_path / "val" / "1.png")
    (tmp_path / "val.csv").write_text("image,label\n1.png,cat\n")
    with pytest.raises(DataError, match=r"val/1\.png,LABEL,val"):
        scan(tmp_path)


def test_a_list_of_one_split_does_not_stand_for_images_of_another(tmp_path: Path) -> None:
    rows = []
    for number in range(4):
        write_image(tmp_path / "train" / f"{number}.png", seed=number)
        rows.append(json.dumps({"file_name": f"{number}.png", "label": number % 2}))
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(rows[:3]))
    write_classes(tmp_path / "test", {"0": 1, "1": 1})
    assert "1 image that" in notes(tmp_path)
    with pytest.raises(DataError, match="images that no list names"):
        scan(tmp_path).evaluation_samples()


def test_a_list_finds_the_images_in_the_folder_of_its_name(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "val" / f"{number}.png", seed=number)
    (tmp_path / "val.txt").write_text("0.png 0\n1.png 1\n")
    assert sizes(tmp_path / "val.txt") == {"all": 2}


def test_a_published_data_set_without_its_split_is_not_read_whole(tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"001.a": 1, "002.b": 1})
    (tmp_path / "images.txt").write_text("1 001.a/000.png\n2 002.b/000.png\n")
    (tmp_path / "image_class_labels.txt").write_text("1 1\n2 2\n")
    with pytest.raises(DataError, match=r"no train_test_split\.txt"):
        scan(tmp_path)


def test_a_list_of_a_test_without_class_folders_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "Train", TWO)
    write_image(tmp_path / "Test" / "1.png")
    (tmp_path / "Test.csv").write_text("ClassId,Path\n0,Test/1.png\n")
    with pytest.raises(DataError, match=r"perhaps labeled by .*Test\.csv"):
        scan(tmp_path).evaluation_samples()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
    ],
)
def test_what_came_in_place_of_an_image_is_told(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_image(tmp_path / "x.jpg")


def test_a_training_folder_that_is_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    (tmp_path / "train").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no training images(.|\n)*leads nowhere"):
        require_trainable(scan(tmp_path))


def test_splits_of_the_same_role_say_what_to_do(tmp_path: Path) -> None:
    for name in ("train", "test1", "test2"):
        write_classes(tmp_path / name, TWO)
    with pytest.raises(DataError, match="Put them together"):
        scan(tmp_path)
