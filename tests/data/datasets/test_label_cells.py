"""Labels as lists spell them: one class each, numbers without decimals."""

from pathlib import Path

import pytest
from images import write_image

from covtool.data.datasets.lists.label_cells import one_class_each
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_retrieval, task_of
from covtool.errors import DataError

FILE = Path("list.csv")


@pytest.mark.parametrize(
    "cells",
    [
        ("cat", "dog", "cat;dog"),
        ("cat|dog", "dog|bird", "bird|cat"),
        ("cat", "dog", "cat, dog"),
        ("['cat', 'dog']", "['cat']"),
    ],
)
def test_several_labels_in_a_cell_are_refused(cells: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="several labels"):
        one_class_each(FILE, cells)


@pytest.mark.parametrize(
    "cells",
    [
        ("tench, Tinca tinca", "great white shark, white shark"),
        ("No Finding", "AC/DC"),
        ("a;1", "b;2"),
    ],
)
def test_separators_in_a_name_are_part_of_it(cells: tuple[str, ...]) -> None:
    assert one_class_each(FILE, cells) == (list(cells), ())


def test_words_that_are_labels_themselves_are_told() -> None:
    labels, (note,) = one_class_each(FILE, ("scab", "rust", "scab rust"))
    assert labels == ["scab", "rust", "scab rust"]
    assert "'scab rust'" in note


def test_whole_numbers_with_decimals_are_numbers() -> None:
    labels, (note,) = one_class_each(FILE, ("0.0", "10.0", "2.0"))
    assert labels == ["0", "10", "2"]
    assert "'0.0' are read as '0'" in note


def test_measured_values_are_no_classes() -> None:
    with pytest.raises(DataError, match="numbers with fractions"):
        one_class_each(FILE, ("1.5", "2.25", "17.0"))
    assert one_class_each(FILE, ("0.5", "0.5", "1.0", "1.0")) == (["0.5", "0.5", "1.0", "1.0"], ())


def listed(folder: Path, first_line: str, rows: list[str]) -> Path:
    for number in range(len(rows)):
        write_image(folder / f"{number}.png", seed=number)
    lines = [f"{number}.png,{row}" for number, row in enumerate(rows)]
    file = folder / "list.csv"
    file.write_text("\n".join((first_line, *lines)))
    return file


def test_classes_written_with_decimals_are_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label", ["10.0", "9.0", "2.0"])
    assert scan(file).class_names == ("2", "9", "10")


def test_a_column_called_train_tells_the_split(tmp_path: Path) -> None:
    file = listed(tmp_path, "filepaths,labels,train", ["a,True", "b,True", "a,False", "b,False"])
    assert {key: len(part) for key, part in scan(file).splits.items()} == {"train": 2, "val": 2}


def test_addresses_are_not_downloaded(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("image_url,label\nhttps://example.org/1.jpg,cat\n")
    with pytest.raises(DataError, match=r"https://example\.org/1\.jpg.*\n.*downloads nothing"):
        scan(file)


def test_names_of_code_bases_for_identity_and_camera_are_known(tmp_path: Path) -> None:
    file = listed(tmp_path, "image,pid,camid,split", ["1,1,query", "1,2,gallery", "2,1,gallery"])
    assert task_of(file) == "retrieval"
    layout = read_retrieval(file)
    assert [(s.identity, s.camera) for s in layout.gallery] == [("1", "2"), ("2", "1")]


def test_an_image_that_is_listed_twice_is_not_set_aside_from_itself(tmp_path: Path) -> None:
    file = listed(tmp_path, "path,label", ["a", "a", "b", "b"])
    lines = file.read_text().splitlines()
    file.write_text("\n".join((*lines, *lines[1:])))
    splits = scan(file, val_fraction=0.5).splits
    train, val = ({sample.path for sample in splits[key]} for key in ("train", "val"))
    assert len(train) == len(val) == 2
    assert not train & val
