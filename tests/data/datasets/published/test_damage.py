"""Lists of published data sets with a mistake are refused with the file and the mistake."""

import json
import sys
from pathlib import Path

import pytest
from published_trees import TREES

from covtool.data.datasets.reading import scan
from covtool.errors import DataError


def damaged(name: str, part: str, change, tmp_path: Path) -> Path:
    root = TREES[name](tmp_path / "data").root
    file = (root if root.is_dir() else root.parent) / part
    file.write_text(change(file.read_text()))
    return root


def cut(text: str) -> str:
    return text[: len(text) // 2].rsplit(" ", 1)[0]


def without_annotation(text: str) -> str:
    table = json.loads(text)
    table["annotations"].pop()
    return json.dumps(table)


def with_two_categories(text: str) -> str:
    table = json.loads(text)
    first, other = table["annotations"][0], table["annotations"][-1]
    table["annotations"].append({**first, "category_id": other["category_id"]})
    return json.dumps(table)


@pytest.mark.parametrize(
    ("name", "part", "change", "message"),
    [
        ("cub-200-2011", "image_class_labels.txt", cut, r"image_class_labels\.txt"),
        ("cub-200-2011", "train_test_split.txt", lambda t: t.replace(" 0", " 2"), "not 0 or 1"),
        ("cub-200-2011", "classes.txt", lambda t: t.replace("2 002", "3 002"), r"classes\.txt"),
        ("fgvc-aircraft", "data/images_variant_test.txt", lambda t: "x", "nothing follows 'x'"),
        ("oxford-pets", "annotations/test.txt", lambda t: "a_1 2", "no class and species"),
        ("food-101", "meta/test.json", cut, r"test\.json cannot be read"),
        ("food-101", "meta/test.json", lambda t: "[]", "does not list images by class"),
        ("dtd", "labels/val1.txt", lambda t: "", r"val1\.txt lists no images"),
        ("dtd", "labels/val1.txt", lambda t: t + "a/b.jpg\n", r"images that .*val1\.txt lists"),
        ("coco", "val2017.json", lambda t: '{"images": [' + t, r"val2017\.json cannot be read"),
        ("coco", "val2017.json", with_two_categories, "1 image of .* have several categories"),
        ("coco", "val2017.json", lambda t: t.replace('"file_name"', '"x"'), "No 'file_name'"),
        ("coco-file", "labels.json", lambda t: t.replace('"image_id": 1', '"image_id": 9'), "not"),
        ("places365", "places365_val.txt", lambda t: t.replace(" 1", " 7"), "nothing about '7'"),
        ("places365", "places365_val.txt", lambda t: "x.jpg", "not a path and a label"),
        ("tiny-imagenet", "val/val_annotations.txt", lambda t: "val_0.JPEG", "nothing follows"),
        ("imagenet-kaggle", "LOC_val_solution.csv", lambda t: t.split("\n")[0], "says nothing"),
        ("imagenet-kaggle", "LOC_val_solution.csv", lambda t: t + "x,\n", "without ImageId"),
        (
            "imagenet-devkit",
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
            lambda t: t + "1\n",
            "5 labels, .* 4 images",
        ),
        ("imagenette-csv", "noisy_imagenette.csv", lambda t: t.replace("True", "?"), "is_valid"),
        ("path-list", "ct_train.txt", lambda t: t + "word\n", "line 5, is not a path and a label"),
        ("path-lists", "val.txt", lambda t: t.replace("val", "vel"), "3 of 3 images"),
        ("imagefolder", "train/metadata.csv", lambda t: t.replace("label", "kind"), "--labels"),
        ("imagefolder", "test/metadata.csv", lambda t: t.replace(",b", ","), "has no label"),
        ("stanford-cars", "cars_test_annos_withlabels.mat", lambda t: "x", "cannot be read"),
    ],
)
def test_a_mistake_in_a_list_is_told_with_its_file(name, part, change, message, tmp_path) -> None:
    if part.endswith(".mat"):
        root = TREES[name](tmp_path / "data").root
        (root / part).write_bytes(b"MATLAB 5.0 MAT-file, cut off")
    else:
        root = damaged(name, part, change, tmp_path)
    with pytest.raises(DataError, match=message):
        scan(root)


def test_images_of_a_list_without_annotation_are_counted(tmp_path) -> None:
    root = damaged("coco", "train2017.json", without_annotation, tmp_path)
    layout = scan(root)
    assert len(layout.samples("train")) == 3
    assert any("1 image of" in note and "left out" in note for note in layout.notes)


def test_lists_of_other_tasks_beside_those_of_coco_are_not_read(tmp_path) -> None:
    root = TREES["coco"](tmp_path).root
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / f"{split}2017.json").rename(root / f"annotations/instances_{split}2017.json")
        (root / f"annotations/captions_{split}2017.json").write_text('{"info": {}, "images": []}')
    assert len(scan(root).samples("val")) == 4


@pytest.mark.parametrize("name", ["stanford-cars", "flowers-102", "stanford-dogs"])
def test_files_of_matlab_need_no_package(name, tmp_path, monkeypatch) -> None:
    root = TREES[name](tmp_path).root
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert scan(root).class_names
