"""A survey finds the images of every layout, whatever is wrong with them."""

import shutil

import pytest
from images import write_classes, write_image
from published_trees import cub, path_list, webdataset
from retrieval_trees import write_csv, write_market

from covtool.data.datasets.survey import survey
from covtool.errors import DataError


def _splits(root):
    for split, count in (("train", 3), ("val", 2)):
        write_classes(root / split, {"a": count, "b": count})
    return root


def _list(root):
    rows = [f"{write_image(root / f'{at}.png', seed=at).name},{'ab'[at % 2]}" for at in range(4)]
    (root / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return root / "list.csv"


def _photos(root):
    for at in range(3):
        write_image(root / f"{at}.png", seed=at)
    return root


LAYOUTS = [
    (lambda root: write_classes(root, {"a": 2, "b": 1}), "a folder per class, without", {"all": 3}),
    (_splits, "splits with a folder per class", {"train": 6, "val": 4}),
    (_list, "a list of labeled images", {"all": 4}),
    (_photos, "images without labels", {"all": 3}),
]


@pytest.mark.parametrize(("write", "layout", "counts"), LAYOUTS)
def test_layouts_are_named_with_the_reason_and_no_image_is_missed(tmp_path, write, layout, counts):
    looked = survey(write(tmp_path / "data"))
    assert looked.layout.startswith(layout)
    assert {name: len(images) for name, images in looked.splits.items()} == counts
    assert looked.task == "classification"
    assert looked.has_files
    assert looked.why
    assert (looked.refusal is None) == (layout != "images without labels")
    labels = {image.label for images in looked.splits.values() for image in images}
    assert labels == ({""} if layout == "images without labels" else {"a", "b"})


@pytest.mark.parametrize("write", [cub, path_list])
def test_published_data_and_lists_have_the_images_of_their_files(tmp_path, write):
    tree = write(tmp_path)
    looked = survey(tree.root)
    found = {image.path.name for images in looked.splits.values() for image in images}
    assert found
    assert looked.refusal is None
    assert "cub" in looked.layout.lower() or write is not cub


def test_shards_are_counted_and_have_no_files(tmp_path):
    looked = survey(webdataset(tmp_path).root)
    assert not looked.has_files
    assert "webdataset" in looked.layout
    assert sum(map(len, looked.splits.values())) > 0


@pytest.mark.parametrize("write", [write_market, write_csv])
def test_data_for_retrieval_has_identities_and_cameras(tmp_path, write):
    looked = survey(write(tmp_path))
    every = [image for images in looked.splits.values() for image in images]
    assert looked.task == "retrieval"
    assert looked.layout.endswith("for retrieval")
    assert any(image.camera for image in every)


def test_links_that_lead_back_are_not_followed_and_named(tmp_path):
    root = _splits(tmp_path / "data")
    (root / "train/a/again").symlink_to(root, target_is_directory=True)
    looked = survey(root)
    assert len(looked.splits["train"]) == 6
    assert [path.name for path in looked.left_out.not_followed] == ["again"]


def test_empty_classes_are_named_by_split_and_refused(tmp_path):
    root = _splits(tmp_path / "data")
    (root / "val/c").mkdir()
    looked = survey(root)
    assert {name: list(names) for name, names in looked.empty.items() if names} == {"val": ["c"]}
    assert "without images: c" in looked.refusal


@pytest.mark.parametrize(("split", "is_refused"), [("train", False), ("val", True)])
def test_a_class_in_one_split_only_stays_among_the_images(tmp_path, split, is_refused):
    root = _splits(tmp_path / "data")
    write_classes(root / split, {"c": 2})
    looked = survey(root)
    labels = {name: {image.label for image in images} for name, images in looked.splits.items()}
    other = {"train": "val", "val": "train"}[split]
    assert "c" in labels[split] - labels[other]
    assert (looked.refusal is not None) == is_refused


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path):
    root = _splits(tmp_path / "data")
    for name in ("train/a/x.heic", "val/b/y.heic", "train/b/z.xyz", "train/a/notes.txt"):
        (root / name).write_bytes(b"?")
    assert survey(root).left_out.suffixes == {".heic": 2, ".xyz": 1}


def test_an_image_in_two_splits_of_a_list_is_a_refusal_not_an_error(tmp_path):
    file = _list(tmp_path)
    rows = [f"{at}.png,{'ab'[at % 2]},{split}" for split in ("train", "val") for at in range(4)]
    file.write_text("\n".join(["path,label,split", *rows]) + "\n")
    looked = survey(file)
    assert "in 'train' and in 'val'" in looked.refusal
    assert len(looked.splits["val"]) == 4


def test_nothing_and_no_images_are_errors(tmp_path):
    with pytest.raises(DataError):
        survey(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        survey(tmp_path / "empty")
    root = write_classes(tmp_path / "texts", {"a": 1})
    shutil.rmtree(root / "a")
    (root / "notes.txt").write_text("x")
    with pytest.raises(DataError):
        survey(root)
