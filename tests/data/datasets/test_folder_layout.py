"""Folders that are no classes are read as what they are, or refused with what to do."""

import pytest
from images import write_classes, write_image

from covtool.data.datasets.folders.labeled import split_folders
from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_classes, task_of
from covtool.errors import DataError
from covtool.specs import LayoutSpec


def loose(folder, count=3):
    for number in range(count):
        write_image(folder / f"{number:04}.jpg", seed=number)


def sizes(layout):
    return {layout.split_names[key]: len(samples) for key, samples in layout.splits.items()}


def test_images_of_splits_outside_class_folders_are_refused_with_the_list_beside(tmp_path) -> None:
    loose(tmp_path / "train")
    loose(tmp_path / "test")
    (tmp_path / "train.csv").write_text("id,label\n0000,healthy\n")
    assert task_of(tmp_path) == "classification"
    with pytest.raises(DataError) as raised:
        scan(tmp_path)
    message = str(raised.value)
    assert f"The 3 images in {tmp_path / 'train'} are not in class folders." in message
    assert f"{tmp_path / 'train.csv'} (columns id, label)" in message
    assert "columns path,label,split" in message
    assert "train/0000.jpg,LABEL,train" in message


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test1"),
        ("train", "test"),
        ("cars_train", "cars_test"),
        ("train_images", "test_images"),
        ("images_train", "images_val"),
        ("my-train", "my-test"),
        ("Training", "Testing"),
        ("trainImages", "testImages"),
        ("train2017", "val2017"),
        ("trainset", "testset"),
    ],
)
def test_names_of_splits_are_no_classes(names, tmp_path) -> None:
    for name in names:
        loose(tmp_path / name)
    with pytest.raises(DataError, match=rf"images in .*{names[0]} are not in class folders"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "dev"),
        ("TRAIN", "Eval"),
        ("Training", "Validation"),
        ("cars_train", "cars_test"),
        ("train_images", "test_images"),
        ("seg_train", "seg_test"),
    ],
)
def test_splits_go_by_other_names_as_well(names, tmp_path) -> None:
    for name, count in zip(names, (3, 2), strict=True):
        write_classes(tmp_path / name, {"a": count, "b": count})
    layout = scan(tmp_path)
    assert sizes(layout) == {names[0]: 6, names[1]: 4}
    assert layout.class_names == ("a", "b")
    assert layout.evaluation_samples()[1] == names[1]
    assert len(layout.samples(names[1])) == 4


@pytest.mark.parametrize(
    "classes",
    [
        {"bus": 1, "train": 1},
        {"test_tube": 1, "train_station": 1},
        {"steam-train": 1, "bicycle": 1, "bus": 1},
        {"mask": 1, "no_mask": 1},
        {"photo": 1, "drawing": 1},
        {"validated": 1, "tested": 1},
    ],
)
def test_classes_may_be_called_like_splits_and_parts(classes, tmp_path) -> None:
    assert scan(write_classes(tmp_path, classes)).class_names == tuple(sorted(classes))


def test_many_classes_may_begin_like_splits(tmp_path) -> None:
    names = ("train_interior", "train_railway", "train_station", "test_bench")
    write_classes(tmp_path, dict.fromkeys(names, 1))
    assert split_folders(tmp_path) == {}
    assert len(scan(tmp_path).class_names) == 4


@pytest.mark.parametrize(
    "beside", ["masks", "labels", "annotations", "SegmentationClass", "png_masks"]
)
@pytest.mark.parametrize("suffix", [".png", ".txt"])
def test_images_beside_what_is_to_be_found_in_them_are_no_classes(beside, suffix, tmp_path) -> None:
    loose(tmp_path / "images")
    (tmp_path / beside).mkdir()
    if suffix == ".png":
        write_image(tmp_path / beside / "0000.png")
    else:
        (tmp_path / beside / "0000.txt").write_text("0 0.5 0.5 1 1")
    with pytest.raises(DataError, match=r"not (a class|classes)(.|\n)*columns path,label,split"):
        scan(tmp_path)


@pytest.mark.parametrize("nested", [("images/train", "images/val"), ("train/images", "val/images")])
def test_data_for_detection_is_refused(nested, tmp_path) -> None:
    for place in nested:
        loose(tmp_path / place)
        labels = tmp_path / place.replace("images", "labels")
        labels.mkdir(parents=True)
        (labels / "0000.txt").write_text("0 0.5 0.5 1 1")
    with pytest.raises(DataError, match=r"not (a class|classes|in class folders)"):
        scan(tmp_path)


def nested(root, *, files=2):
    for outer, inner in {"Aves": ("2761", "2762", "2763"), "Insecta": ("11", "12", "13")}.items():
        write_classes(root / outer, dict.fromkeys(inner, files))


def test_classes_in_folders_are_refused_with_both_counts(tmp_path) -> None:
    nested(tmp_path)
    with pytest.raises(DataError, match=r"2 classes \(Aves, Insecta\) or 6 \(Aves/2761") as raised:
        scan(tmp_path)
    assert "--class-folders inner for the 6, --class-folders outer for the 2" in str(raised.value)


def test_somebody_says_which_of_nested_folders_are_the_classes(tmp_path) -> None:
    for split in ("train", "val"):
        nested(tmp_path / split)
    inner = scan(tmp_path, choice=LayoutSpec(class_folders="inner"))
    outer = scan(tmp_path, choice=LayoutSpec(class_folders="outer"))
    assert inner.class_names[:2] == ("Aves/2761", "Aves/2762")
    assert (len(inner.class_names), outer.class_names) == (6, ("Aves", "Insecta"))
    assert sizes(inner) == sizes(outer) == {"train": 12, "val": 12}


def test_parts_that_every_class_has_are_not_the_classes(tmp_path) -> None:
    for name in ("cat", "dog"):
        write_classes(tmp_path / name, {"images": 1, "photos": 2})
    layout = scan(tmp_path)
    assert layout.class_names == ("cat", "dog")
    assert "not the 4 folders in them" in layout.notes[0]


def test_classes_in_folders_of_domains_are_refused_with_both_counts(tmp_path) -> None:
    domains = ("art", "cartoon", "sketch")
    for domain in domains:
        write_classes(tmp_path / domain, {"dog": 1, "horse": 1})
    with pytest.raises(DataError, match=r"3 classes \(art, cartoon, sketch\) or 2 \(dog, horse\)"):
        scan(tmp_path)
    inner = scan(tmp_path, choice=LayoutSpec(class_folders="inner"))
    assert (inner.class_names, sizes(inner)) == (("dog", "horse"), {"all": 6})
    outer = scan(tmp_path, choice=LayoutSpec(class_folders="outer"))
    assert outer.class_names == domains


@pytest.mark.parametrize("name", ["HAM10000_images_part_{}", "images_00{}", "fold{}", "batch-{}"])
@pytest.mark.parametrize("below", ["", "cat", "images"])
def test_pieces_of_a_data_set_are_no_classes(name, below, tmp_path) -> None:
    for number in (1, 2):
        loose(tmp_path / name.format(number) / below)
    (tmp_path / "metadata_of_them.csv").write_text("image_id,dx\n")
    with pytest.raises(DataError, match=r"pieces, not classes(.|\n)*\(columns image_id, dx\)"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "names", [("person_1", "person_2"), ("s1", "s2"), ("0", "1"), ("c0", "c1")]
)
def test_numbered_classes_are_classes(names, tmp_path) -> None:
    assert scan(write_classes(tmp_path, dict.fromkeys(names, 1))).class_names == names


def test_images_in_one_folder_beside_their_list_are_refused_with_it(tmp_path) -> None:
    loose(tmp_path / "images")
    (tmp_path / "labels.csv").write_text("id,breed\n")
    with pytest.raises(DataError, match=r"labels\.csv \(columns id, breed\)"):
        scan(tmp_path)


@pytest.mark.parametrize("aside", ["devkit", "annotations", "meta", "docs", "attributes"])
def test_folders_of_papers_are_no_classes(aside, tmp_path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / aside).mkdir()
    (tmp_path / aside / "notes.txt").write_text("")
    layout = scan(tmp_path)
    assert layout.class_names == ("a", "b")
    assert aside in layout.notes[0]


@pytest.mark.parametrize(
    "left_over",
    [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "Thumbs"],
)
def test_what_programs_leave_behind_is_no_class_at_any_depth(left_over, tmp_path) -> None:
    for split in ("train", "val"):
        write_classes(tmp_path / split, {"a": 1, "b": 1})
        for place in ("", "a"):
            write_image(tmp_path / split / place / left_over / "a" / "0.png")
    write_image(tmp_path / left_over / "0.png")
    layout = scan(tmp_path)
    assert (layout.class_names, sizes(layout)) == (("a", "b"), {"train": 2, "val": 2})


@pytest.mark.parametrize("around", ["dataset", "dataset/dataset", "images", "data/my birds"])
@pytest.mark.parametrize("split", [True, False])
def test_a_folder_that_holds_nothing_but_the_data_is_looked_through(
    around, split, tmp_path
) -> None:
    for place in ("train", "val") if split else ("",):
        write_classes(tmp_path / around / place, {"a": 1, "b": 2})
    layout = scan(tmp_path)
    assert layout.class_names == ("a", "b")
    assert sizes(layout) == ({"train": 3, "val": 3} if split else {"all": 3})
    assert f"read as {tmp_path / around}" in layout.notes[0]


def test_an_archive_in_a_folder_of_its_name_is_looked_through(tmp_path) -> None:
    for split in ("train", "val"):
        write_classes(tmp_path / split / split, {"a": 1, "b": 1})
    assert sizes(scan(tmp_path)) == {"train": 2, "val": 2}
    for split in ("train", "test"):
        loose(tmp_path / "pets" / split / split)
    (tmp_path / "pets" / "labels.csv").write_text("id,label\n")
    with pytest.raises(DataError, match=r"images in .*train are not in class folders") as raised:
        scan(tmp_path / "pets")
    assert "train/train/0000.jpg,LABEL,train" in str(raised.value)


def spoiled(root, called, how):
    write_classes(root / "train", {"a": 2, "b": 2})
    place = root / called
    if how == "loose":
        loose(place)
    elif how == "images":
        loose(place / "images")
    else:
        (place / "a").mkdir(parents=True)
    return root


@pytest.mark.parametrize("how", ["loose", "images", "empty"])
@pytest.mark.parametrize("called", ["val", "validation", "Valid", "dev", "eval"])
def test_validation_images_without_classes_are_never_replaced_by_training_images(
    how, called, tmp_path
) -> None:
    root = spoiled(tmp_path, called, how)
    assert task_of(root) == "classification"
    with pytest.raises(DataError, match=called) as raised:
        scan(root)
    expected = {"loose": "3 images", "images": "not a class", "empty": "no images"}
    assert expected[how] in str(raised.value)


@pytest.mark.parametrize("how", ["loose", "images", "empty"])
@pytest.mark.parametrize("called", ["test", "test1", "Testing"])
def test_nothing_is_measured_on_test_images_without_labels(how, called, tmp_path) -> None:
    root = spoiled(tmp_path, called, how)
    assert task_of(root) == "classification"
    layout = scan(root)
    with pytest.raises(DataError, match=r"nothing to evaluate on(.|\n)*--split train"):
        layout.evaluation_samples()
    with pytest.raises(DataError, match=rf"{called!r} with labels\.\n.*{called}"):
        layout.samples(called)
    with pytest.raises(DataError, match="nothing to validate on") as raised:
        require_trainable(layout)
    assert called in str(raised.value)
    assert any(called in note for note in layout.notes)
    require_trainable(scan(root, val_fraction=0.5))


@pytest.mark.parametrize("called", ["test", "Testing", "test1", "test_images"])
def test_test_images_among_class_folders_are_no_class(called, tmp_path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 2})
    loose(tmp_path / called)
    layout = scan(tmp_path)
    assert (layout.class_names, sizes(layout)) == (("cat", "dog"), {"all": 4})
    with pytest.raises(DataError, match=rf"{called} holds 3 images(.|\n)*--split all"):
        layout.evaluation_samples()
    require_trainable(scan(tmp_path, val_fraction=0.5))


def test_validation_images_among_class_folders_are_refused(tmp_path) -> None:
    write_classes(tmp_path, {"cat": 2, "dog": 2})
    loose(tmp_path / "val")
    with pytest.raises(DataError, match=r"3 images in .*val are not in class folders"):
        scan(tmp_path)


def test_a_folder_of_other_files_is_refused_with_what_it_holds(tmp_path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "part-0.tar").touch()
    with pytest.raises(DataError, match=r"no images in .*\nIt holds files called \.tar"):
        scan(tmp_path)


def test_test_images_without_labels_beside_validation_images_are_named(tmp_path) -> None:
    root = spoiled(tmp_path, "test", "loose")
    write_classes(root / "val", {"a": 1, "b": 1})
    layout = scan(root)
    assert layout.evaluation_samples()[1] == "val"
    with pytest.raises(DataError, match=r"holds 3 images outside class folders"):
        layout.samples("test")


def test_what_is_left_out_beside_splits_and_classes_is_named(tmp_path) -> None:
    for split in ("train", "val"):
        write_classes(tmp_path / split, {"a": 1, "b": 1})
    write_classes(tmp_path / "extra", {"a": 1})
    write_image(tmp_path / "train" / "overview.png")
    notes = " ".join(scan(tmp_path).notes)
    assert "Not used, since they are not splits: extra." in notes
    assert "1 image of" in notes


def test_one_class_to_test_on_that_is_not_trained_is_no_search(tmp_path) -> None:
    write_classes(tmp_path / "train", {"cat": 1, "dog": 1})
    write_classes(tmp_path / "test", {"unknown": 3})
    assert task_of(tmp_path) == "classification"
    with pytest.raises(DataError, match="classes in 'test' that 'train' lacks: unknown"):
        read_classes(tmp_path)
