import pytest
from images import write_classes
from published_trees import TREES
from retrieval_trees import CSV_ROWS, write_csv, write_market, write_msmt17

from covtool.data.datasets.image_list import read_image_list, write_image_list
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.data.datasets.retrieval.training import searching_layout
from covtool.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / "data" / split, {"a": 2, "b, c": 3})
    return tmp_path / "data"


def test_a_list_is_the_data_set_wherever_it_is_by_now_and_whatever_it_holds(folder, tmp_path):
    layout = scan(folder)
    out = {layout.splits["train"][1].path}
    write_image_list(tmp_path / "images.csv", layout, out)
    assert read_image_list(tmp_path / "images.csv", folder) == (layout, frozenset(out))
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "train/a/new.png").touch()
    (moved / "test/a").rename(moved / "gone")
    again, left_out = read_image_list(tmp_path / "images.csv", moved)
    assert again.class_names == layout.class_names
    assert again.split_names == {"train": "train", "val": "test"}
    for split, samples in layout.splits.items():
        kept = [s.path.relative_to(moved) for s in again.splits[split]]
        assert kept == [s.path.relative_to(folder) for s in samples]
        assert [s.label for s in again.splits[split]] == [s.label for s in samples]
    assert [path.relative_to(moved) for path in left_out] == [p.relative_to(folder) for p in out]


def test_the_images_of_a_csv_file_keep_their_folder(folder, tmp_path):
    rows = [f'"{p.relative_to(tmp_path)}",{p.parent.name[0]}' for p in sorted(folder.rglob("*.*"))]
    table = tmp_path / "some.csv"
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    layout = scan(table, val_fraction=0.3)
    write_image_list(tmp_path / "images.csv", layout, ())
    assert read_image_list(tmp_path / "images.csv", table) == (layout, frozenset())


WITH_JUNK = (
    *(row for row in CSV_ROWS if row[3] == "train"),
    ("c/1.png", '"cleo, or not"', "c1", "test"),
    ("c/2.png", '"cleo, or not"', "c2", "test"),
    ("x/1.png", "-1", "c2", "test"),
)
WITHOUT_CAMERAS = tuple((path, name, "", split) for path, name, _, split in WITH_JUNK)


@pytest.mark.parametrize(
    "rows", [CSV_ROWS, WITH_JUNK, WITHOUT_CAMERAS], ids=["query, gallery", "test", "no cameras"]
)
def test_data_that_is_searched_in_is_read_back_as_it_was(tmp_path, rows):
    table = write_csv(tmp_path / "data", rows)
    layout = searching_layout(read_retrieval(table))
    out = {layout.searched.searched[-1].path}
    write_image_list(tmp_path / "images.csv", layout, out)
    again, left_out = read_image_list(tmp_path / "images.csv", table)
    assert (again, left_out) == (layout, frozenset(out))
    assert again.searched.shared == (rows is not CSV_ROWS)
    moved = (tmp_path / "data").rename(tmp_path / "elsewhere")
    (moved / "people.csv").write_text("path,identity,camera,split\n")  # what it holds by now
    again, _ = read_image_list(tmp_path / "images.csv", moved / "people.csv")
    told = [(s.path.relative_to(moved).as_posix(), *s[1:]) for s in again.searched.searched]
    assert told == [
        (row[0], row[1].strip('"'), row[2] or None) for row in rows if row[3] != "train"
    ]


@pytest.mark.parametrize("write", [write_market, write_msmt17])
def test_published_data_keep_their_identities_and_cameras(tmp_path, write):
    layout = searching_layout(read_retrieval(write(tmp_path / "data")))
    write_image_list(tmp_path / "images.csv", layout, ())
    again, _ = read_image_list(tmp_path / "images.csv", tmp_path / "data")
    assert again.searched.subsets == layout.searched.subsets
    assert (again.class_names, again.splits) == (layout.class_names, layout.splits)


def test_a_damaged_list_and_a_data_set_that_is_gone_are_errors(folder, tmp_path):
    (tmp_path / "images.csv").write_text("nothing\nuseful\n")
    with pytest.raises(DataError, match=r"images\.csv is damaged"):
        read_image_list(tmp_path / "images.csv", folder)
    write_image_list(tmp_path / "images.csv", scan(folder), ())
    with pytest.raises(DataError, match="There is no data set at"):
        read_image_list(tmp_path / "images.csv", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["cub-200-2011", "path-list", "coco-file", "caltech"])
def test_a_published_data_set_comes_back_from_its_list(name, tmp_path) -> None:
    root = TREES[name](tmp_path / "data").root
    layout = scan(root)
    write_image_list(tmp_path / "images.csv", layout, ())
    again, left_out = read_image_list(tmp_path / "images.csv", root)
    assert (again.class_names, dict(again.splits)) == (layout.class_names, dict(layout.splits))
    assert left_out == frozenset()
