"""Other forms in which the same data sets are found: folders moved, lists of another kind."""

import json
import shutil
from pathlib import Path

import pytest
from images import write_image
from published_trees import TREES

from covtool.data.datasets.published import find_published
from covtool.data.datasets.reading import scan
from covtool.errors import DataError


def moved_up(root: Path, place: str) -> None:
    for child in (root / place).iterdir():
        child.rename(root / child.name)
    shutil.rmtree(root / place.partition("/")[0])


def moved_down(root: Path, pattern: str, place: str) -> None:
    (root / place).mkdir(parents=True)
    for child in list(root.glob(pattern)):
        child.rename(root / place / child.name)


def doubled(root: Path) -> None:
    for name in ("cars_train", "cars_test"):
        (root / name).rename(root / "x")
        (root / name).mkdir()
        (root / "x").rename(root / name / name)


def restructured(root: Path) -> None:
    """Validation images in class folders, as scripts sort them."""
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid, *_ = line.split()
        (root / "val" / wnid / "images").mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / name).rename(root / "val" / wnid / "images" / name)


VARIANTS = {
    "aircraft without data/": ("fgvc-aircraft", lambda root: moved_up(root, "data")),
    "Food-101 with texts": (
        "food-101",
        lambda root: [f.unlink() for f in root.glob("meta/*.json")],
    ),
    "Cars all in one folder": ("stanford-cars", lambda root: moved_up(root, "devkit")),
    "Cars as Kaggle has them": ("stanford-cars", doubled),
    "Places with lists apart": (
        "places365",
        lambda root: moved_down(root, "*.txt", "filelist_places365-standard"),
    ),
    "Places in large": (
        "places365",
        lambda root: [
            (root / "data_256_standard").rename(root / "data_large"),
            (root / "val_256").rename(root / "val_large"),
        ],
    ),
    "SUN397 with Partitions/": ("sun397", lambda root: moved_down(root, "*_0?.txt", "Partitions")),
    "Dogs with lists/": ("stanford-dogs", lambda root: moved_down(root, "*.mat", "lists")),
    "Tiny ImageNet restructured": ("tiny-imagenet", restructured),
    "ImageNet with a devkit here": (
        "imagenet-devkit",
        lambda root: moved_up(root, "ILSVRC2012_devkit_t12/data"),
    ),
    "lists with commas": (
        "path-lists",
        lambda root: [
            f.write_text(f.read_text().replace("jpg ", "jpg,")) for f in root.glob("*.txt")
        ],
    ),
    "lists in a folder": ("path-lists", lambda root: moved_down(root, "*.txt", "lists")),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_images_have_the_same_labels_wherever_they_are(variant, tmp_path) -> None:
    name, change = VARIANTS[variant]
    root = TREES[name](tmp_path / "data").root
    before = told(root)
    change(root)
    assert told(root) == before


def told(root: Path) -> dict[str, list[tuple[str, str]]]:
    layout = scan(root)
    return {
        own: sorted((s.path.name, layout.class_names[s.label]) for s in layout.splits[key])
        for key, own in layout.split_names.items()
    }


def test_sun397_without_its_splits_is_read_whole(tmp_path) -> None:
    root = TREES["sun397"](tmp_path).root
    for file in root.glob("*.txt"):
        file.unlink()
    layout = scan(root)
    assert (layout.class_names, len(layout.samples("all"))) == (("abbey", "apse/indoor"), 16)
    assert "lists of its ten splits" in layout.notes[1]


def test_clutter_of_caltech_256_is_no_class(tmp_path) -> None:
    for name in ("001.ak47", "002.american-flag", "257.clutter"):
        write_image(tmp_path / "256_ObjectCategories" / name / "001_0001.jpg")
    layout = scan(tmp_path)
    assert layout.class_names == ("001.ak47", "002.american-flag")
    assert "257.clutter is not a class: 1 image left out." in layout.notes


def test_lists_in_each_split_are_read_with_the_images_beside_them(tmp_path) -> None:
    for split in ("train", "valid"):
        write_image(tmp_path / split / "1.jpg")
        write_image(tmp_path / split / "2.jpg")
        table = {
            "images": [{"id": n, "file_name": f"{n}.jpg"} for n in (1, 2)],
            "annotations": [{"image_id": n, "category_id": n} for n in (1, 2)],
            "categories": [{"id": n, "name": "ab"[n - 1]} for n in (1, 2)],
        }
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(table))
    assert told(tmp_path) == {s: [("1.jpg", "a"), ("2.jpg", "b")] for s in ("train", "valid")}


def test_two_data_sets_in_a_folder_are_not_one(tmp_path) -> None:
    for name in ("dtd", "food-101"):
        TREES[name](tmp_path / name)
    assert find_published(tmp_path) is None
    with pytest.raises(DataError):
        scan(tmp_path)


def test_flowers_are_named_where_their_names_are_told(tmp_path) -> None:
    root = TREES["flowers-102"](tmp_path).root
    (root / "cat_to_name.json").write_text(json.dumps({"77": "passion flower", "3": "bellflower"}))
    assert scan(root).class_names == ("bellflower", "passion flower")
