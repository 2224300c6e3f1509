"""Lists of images under the names that people give to columns and files."""

import pytest
from images import write_image

from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.lists.column_names import (
    FLAGS,
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
)
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_classes, task_of
from covtool.errors import DataError

IMAGE_NAMES = [name for row in IMAGE_COLUMNS for name in row]


def _list(folder, *lines, name="list.csv", files=("a1.png", "a2.png", "b1.png", "b2.png")):
    for number, file in enumerate(files):
        write_image(folder / file, seed=number, size=(4, 4))
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def _found(layout):
    folder = layout.root.parent
    return {
        layout.split_names[key]: [
            (s.path.relative_to(folder).as_posix(), layout.class_names[s.label]) for s in samples
        ]
        for key, samples in layout.splits.items()
    }


PLAIN = {"all": [("a1.png", "a"), ("b1.png", "b")]}


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_an_image_may_be_named_by_any_of_these(tmp_path, name):
    file = _list(tmp_path, f"{name},label", "a1.png,a", "b1.png,b")
    assert _found(scan(file)) == PLAIN


@pytest.mark.parametrize("name", ["label", *LABEL_COLUMNS, "Class Name", "category-id"])
def test_a_class_may_be_named_by_any_of_these(tmp_path, name):
    file = _list(tmp_path, f"path,{name},size", "a1.png,a,4", "b1.png,b,9")
    assert _found(scan(file)) == PLAIN
    assert task_of(file) == "classification"


@pytest.mark.parametrize("name", ["split", *SPLIT_COLUMNS])
def test_a_split_may_be_named_by_any_of_these(tmp_path, name):
    file = _list(tmp_path, f"path,label,{name}", "a1.png,a,Train", "b1.png,b,Train", "a2.png,a,val")
    assert _found(scan(file)) == {
        "Train": [("a1.png", "a"), ("b1.png", "b")],
        "val": [("a2.png", "a")],
    }


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("1", "0"), ("yes", "no")])
def test_yes_and_no_may_say_the_split(tmp_path, name, yes, no):
    meant, other = FLAGS[name]
    file = _list(
        tmp_path,
        f"path,label,{name}",
        f"a1.png,a,{yes}",
        f"b1.png,b,{yes}",
        f"a2.png,a,{no}",
        f"b2.png,b,{no}",
    )
    first, second = [("a1.png", "a"), ("b1.png", "b")], [("a2.png", "a"), ("b2.png", "b")]
    found = _found(scan(file))
    assert found == {meant: first, other: second}


def test_a_test_set_wins_over_a_validation_set_in_flags(tmp_path):
    file = _list(
        tmp_path,
        "path,label,is_valid,is_test",
        "a1.png,a,0,0",
        "b1.png,b,0,0",
        "a2.png,a,1,0",
        "b2.png,b,0,1",
    )
    assert {split: len(rows) for split, rows in _found(scan(file)).items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }


@pytest.mark.parametrize("values", [("0", "1"), ("Training", "PublicTest")])
def test_a_column_that_only_sounds_like_splits_is_left_alone_and_named(tmp_path, values):
    file = _list(tmp_path, "path,label,fold", f"a1.png,a,{values[0]}", f"b1.png,b,{values[1]}")
    layout = scan(file)
    assert _found(layout) == PLAIN
    assert "list.csv: the column 'fold' holds no names of splits." in layout.notes


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_separators_line_ends_marks_and_quotes_do_not_matter(tmp_path, mark, end, bom):
    lines = (f'"path"{mark}"label"', f'"a1.png"{mark}"a"', f'b1.png{mark}"b"')
    file = _list(tmp_path)
    file.write_bytes((bom + end.join(lines) + end).encode())
    assert _found(scan(file)) == PLAIN


def test_a_tsv_file_is_a_list_as_well(tmp_path):
    file = _list(tmp_path, "image\tclass", "a1.png\ta", "b1.png\tb", name="list.tsv")
    assert _found(scan(file)) == PLAIN
    assert _found(read_classes(file)) == PLAIN
    assert [sample.identity for sample in find_images(file).splits["all"]] == ["a", "b"]


@pytest.mark.parametrize("folder", ["", "images/", "img/", "train/", "somewhere/deep/"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_an_image_is_found_by_its_name_with_or_without_suffix(tmp_path, folder, suffix):
    file = _list(
        tmp_path,
        "id,breed",
        f"a1{suffix},a",
        f"b1{suffix},b",
        files=[f"{folder}a1.png", f"{folder}b1.png"],
    )
    layout = scan(file)
    assert _found(layout) == {"all": [(f"{folder}a1.png", "a"), (f"{folder}b1.png", "b")]}
    by_name = not (folder == "" and suffix)
    note = f"2 of 2 images were found by name: 'a1{suffix}' is {folder}a1.png."
    assert (note in layout.notes) == by_name


def test_paths_of_another_machine_are_followed_by_their_ends(tmp_path):
    files = ["imgs/a/1.png", "imgs/b/1.png"]
    windows = r"C:\data\imgs\b\1.png"
    file = _list(
        tmp_path, "path,label", "/home/me/data/imgs/a/1.png,a", f"{windows},b", files=files
    )
    assert _found(scan(file)) == {"all": [("imgs/a/1.png", "a"), ("imgs/b/1.png", "b")]}


def test_a_file_of_that_name_in_another_folder_is_not_taken(tmp_path):
    file = _list(tmp_path, "path,label", "dogs/1.png,dog", "cats/1.png,cat", files=["cats/1.png"])
    with pytest.raises(DataError, match=r"(?s)1 of 2 images .*dogs/1\.png"):
        scan(file)


def test_a_name_that_could_be_two_files_is_refused_unless_a_folder_says_which(tmp_path):
    files = ["train/1.png", "test/1.png", "train/2.png"]
    with pytest.raises(DataError, match=r"'1', which could be test/1\.png or train/1\.png"):
        scan(_list(tmp_path, "id,label", "1,a", "2,b", name="labels.csv", files=files))
    layout = scan(_list(tmp_path, "id,label", "1,a", "2,b", name="train.csv", files=files))
    assert [path for path, _ in _found(layout)["all"]] == ["train/1.png", "train/2.png"]
    lines = ("id,label,set", "1,a,train", "2,b,train", "1,a,test")
    layout = scan(_list(tmp_path, *lines, name="labels.csv", files=files))
    assert _found(layout)["test"] == [("test/1.png", "a")]


def test_an_image_is_taken_before_a_mask_of_the_same_name(tmp_path):
    files = ["images/1.jpg", "images/2.jpg", "masks/1.png", "masks/2.png"]
    layout = scan(_list(tmp_path, "id,label", "1,a", "2,b", files=files))
    assert [path for path, _ in _found(layout)["all"]] == ["images/1.jpg", "images/2.jpg"]


def test_a_better_column_is_taken_before_an_id(tmp_path):
    file = _list(tmp_path, "id,filename,class", "7,a1.png,a", "8,b1.png,b")
    layout = scan(file)
    assert _found(layout) == PLAIN
    assert layout.notes[0] == "list.csv: 'filename' as path, 'class' as label."


def test_numbers_and_names_of_the_same_classes_are_one_column(tmp_path):
    file = _list(tmp_path, "path,class_id,class_name", "a1.png,7,a", "b1.png,3,b", "a2.png,7,a")
    assert scan(file).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("path,species,category", r"2 columns that could be the label: species, category"),
        ("image,filename,label", r"2 columns that could be the path: image, filename"),
        ("path,label,label", r"2 columns that could be the label: label, label"),
    ],
)
def test_several_columns_of_a_kind_are_asked_about(tmp_path, first, message):
    lines = (first, "a1.png,a,x", "a2.png,a,y", "b1.png,b,y")
    with pytest.raises(DataError, match=rf"{message}\.\nCall the one that is meant '(path|label)'"):
        scan(_list(tmp_path, *lines))


def test_what_is_missing_is_said_in_the_words_of_the_task(tmp_path):
    file = _list(tmp_path, "path,noisy,is_valid", "a1.png,a,False")
    for read in (scan, read_classes):
        with pytest.raises(
            DataError, match=r"(?s)no column 'label'.*path,label or path,label,split"
        ):
            read(file)
    assert task_of(file) == "classification"


def test_places_in_an_image_are_no_labels(tmp_path):
    lines = ("filename,class,x,y", "a1.png,a,3,9", "b1.png,b,4,9")
    assert _found(scan(_list(tmp_path, *lines))) == PLAIN


def test_a_list_without_a_first_line_is_told_so(tmp_path):
    with pytest.raises(DataError, match=r"does not name the columns\.\nIt reads: a1.png, a"):
        scan(_list(tmp_path, "a1.png,a", "b1.png,b"))


def test_a_list_for_retrieval_stays_one_beside_other_columns(tmp_path):
    file = _list(tmp_path, "path,identity,species", "a1.png,7,a", "a2.png,7,a")
    assert task_of(file) == "retrieval"


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("10", "9", "0"), ("0", "9", "10")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("02", "1", "10"), ("1", "02", "10")),
    ],
)
def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path, labels, names):
    pairs = zip(("a1.png", "a2.png", "b1.png"), labels, strict=True)
    lines = (f"{file},{label}" for file, label in pairs)
    assert scan(_list(tmp_path, "path,label", *lines)).class_names == names
