from pathlib import Path

import pytest
from images import write_classes, write_image

from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.errors import ArgumentError, DataError


def _files(samples, root):
    return [str(s.path.relative_to(root)) for s in samples]


@pytest.mark.parametrize("called", ["val", "validation", "test", "Test", "valid"])
def test_the_split_to_evaluate_on_is_found_whatever_it_is_called(tmp_path, called) -> None:
    write_classes(tmp_path / "train", {"b": 2, "a": 1})
    write_classes(tmp_path / called, {"b": 1, "a": 2})
    layout = scan(tmp_path)
    assert layout.class_names == ("a", "b")
    assert list(layout.splits) == ["train", "val"]
    assert [s.label for s in layout.splits["val"]] == [0, 0, 1]
    assert layout.evaluation_samples() == (layout.splits["val"], called)
    assert layout.samples(called) == layout.samples("val")
    require_trainable(layout)


def test_val_is_evaluated_on_and_test_is_kept_where_both_exist(tmp_path) -> None:
    for split, count in {"train": 3, "val": 2, "test": 1}.items():
        write_classes(tmp_path / split, {"a": count, "b": count})
    layout = scan(tmp_path)
    assert {key: len(samples) for key, samples in layout.splits.items()} == {
        "train": 6,
        "val": 4,
        "test": 2,
    }
    assert layout.evaluation_samples()[1] == "val"
    assert len(layout.samples("test")) == 2
    with pytest.raises(DataError, match=r"no split called 'dev'\.\nIt has: train, val, test"):
        layout.samples("dev")


def test_one_folder_of_classes_is_evaluated_whole(tmp_path) -> None:
    layout = scan(write_classes(tmp_path, {"cat": 2, "dog": 3}))
    samples, split = layout.evaluation_samples()
    assert (len(samples), split, layout.kind) == (5, "all", "folder")
    with pytest.raises(DataError, match="nothing to validate on"):
        require_trainable(layout)


def test_a_class_may_be_called_train(tmp_path) -> None:
    assert scan(write_classes(tmp_path, {"bus": 1, "train": 1})).class_names == ("bus", "train")


def test_suffixes_may_be_upper_case_and_other_files_are_left_alone(tmp_path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    write_image(tmp_path / "a" / "deeper" / "X.JPG")
    for name in ("a/._000.png", "a/Thumbs.db", "a/notes.txt", ".cache/x/y.png", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"?")
    (tmp_path / "__MACOSX").mkdir()
    layout = scan(tmp_path)
    assert layout.class_names == ("a", "b")
    assert _files(layout.splits["train"], tmp_path) == ["a/000.png", "a/deeper/X.JPG", "b/000.png"]


def test_val_fraction_splits_every_class_alike_and_the_same_way_each_time(tmp_path) -> None:
    write_classes(tmp_path, {"a": 10, "b": 5, "c": 2, "d": 1})
    layout = scan(tmp_path, val_fraction=0.2, seed=3)
    of_class = [sum(s.label == label for s in layout.splits["val"]) for label in range(4)]
    assert of_class == [2, 1, 1, 0]
    both = layout.splits["train"] + layout.splits["val"]
    assert sorted(both, key=lambda s: s.path) == sorted(
        scan(tmp_path).splits["train"], key=lambda s: s.path
    )
    assert scan(tmp_path, val_fraction=0.2, seed=3) == layout
    assert scan(tmp_path, val_fraction=0.2, seed=4) != layout
    with pytest.raises(ArgumentError, match=r"must lie between 0 and 1, not 1\.5"):
        scan(tmp_path, val_fraction=1.5)


def test_val_fraction_beside_a_val_folder_is_refused(tmp_path) -> None:
    for split in ("train", "val"):
        write_classes(tmp_path / split, {"a": 1, "b": 1})
    with pytest.raises(DataError, match=r"its own split to validate on, 'val'.\nLeave out"):
        scan(tmp_path, val_fraction=0.5)


def test_val_fraction_beside_a_test_folder_leaves_the_test_aside(tmp_path) -> None:
    for split, count in (("train", 10), ("test", 3)):
        write_classes(tmp_path / split, {"a": count, "b": count})
    layout = scan(tmp_path, val_fraction=0.2)
    assert {key: len(samples) for key, samples in layout.splits.items()} == {
        "train": 16,
        "val": 4,
        "test": 6,
    }
    assert {sample.path.parts[-3] for sample in layout.splits["val"]} == {"train"}
    assert layout.splits["test"] == scan(tmp_path).splits["val"]


def test_val_fraction_without_training_images_is_refused(tmp_path) -> None:
    write_classes(tmp_path / "test", {"a": 3, "b": 3})
    with pytest.raises(DataError, match="no split called 'train'"):
        scan(tmp_path, val_fraction=0.2)


def test_a_class_that_the_training_images_lack_is_named(tmp_path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path / "val", {"a": 1, "zebra": 1})
    with pytest.raises(DataError, match=r"classes in 'val' that 'train' lacks: zebra"):
        scan(tmp_path)


def test_empty_classes_are_listed_for_training_and_allowed_for_evaluation(tmp_path) -> None:
    write_classes(tmp_path / "train", {"a": 1, "b": 1})
    write_classes(tmp_path / "val", {"a": 1, "b": 0})
    assert len(scan(tmp_path).splits["val"]) == 1
    write_classes(tmp_path / "train", {"void": 0, "hollow": 0})
    with pytest.raises(DataError, match=r"2 class folders of .*train without images: hollow, void"):
        scan(tmp_path)


def test_a_data_set_that_is_no_data_set_is_refused_with_the_reason(tmp_path) -> None:
    with pytest.raises(DataError, match="There is no data set at"):
        scan(tmp_path / "missing")
    with pytest.raises(DataError, match="There are no images in"):
        scan(tmp_path)
    write_image(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"The 1 image in .* is not in a class folder"):
        scan(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor a CSV file"):
        scan(tmp_path / "loose.png")


def test_a_single_class_cannot_be_trained_on(tmp_path) -> None:
    with pytest.raises(DataError, match="a single class, 'only'"):
        require_trainable(scan(write_classes(tmp_path, {"only": 2})))


def _csv(folder: Path, *lines: str) -> Path:
    for name in "123":
        write_image(folder / "images" / f"{name}.png")
    file = folder / "list.csv"
    file.write_text("\n".join(lines), encoding="utf-8-sig")
    return file


def test_a_csv_file_lists_images_beside_it(tmp_path) -> None:
    file = _csv(
        tmp_path,
        "label, Path, split, camera",
        "zwei,images/2.png,train,1",
        "eins,images/1.png,train,",
        "eins,images/3.png,test,7",
    )
    layout = scan(file)
    assert (layout.kind, layout.name) == ("csv", "list.csv")
    assert layout.class_names == ("eins", "zwei")
    assert [(s.path.name, s.label) for s in layout.splits["train"]] == [("2.png", 1), ("1.png", 0)]
    assert layout.evaluation_samples()[1] == "test"


def test_a_csv_file_without_splits_is_used_whole_or_split(tmp_path) -> None:
    file = _csv(tmp_path, "path,label", "images/1.png,a", "images/2.png,a", "images/3.png,b")
    assert scan(file).evaluation_samples()[1] == "all"
    assert {k: len(v) for k, v in scan(file, val_fraction=0.5).splits.items()} == {
        "train": 2,
        "val": 1,
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["place,label", "images/1.png,a"],
            r"no column 'path'\.\nIts first line names: place",
        ),
        ([""], "no column 'path' and no column 'label'"),
        (["path,label"], "lists no images"),
        (["path,label", "images/1.png,"], "line 2: the label is empty"),
        (["path,label", "images/1.png"], "line 2: the label is empty"),
        (["path,label,split", "images/1.png,a,tran"], "line 2: there is no split 'tran'"),
        (["path,label", "images/9.png,a", "images/1.png,b"], "1 of 2 images .* are not there"),
    ],
)
def test_a_csv_file_with_a_mistake_is_refused_with_the_place(tmp_path, lines, message) -> None:
    with pytest.raises(DataError, match=message):
        scan(_csv(tmp_path, *lines))
