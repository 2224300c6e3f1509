"""Data sets for retrieval in every form that is read without being declared."""

import pytest
from images import write_classes
from retrieval_trees import (
    CSV_ROWS,
    write_csv,
    write_in_shop,
    write_layumi,
    write_market,
    write_msmt17,
    write_named,
    write_plain,
    write_products,
    write_vehicle_id,
    write_veri,
)

from covtool.data.datasets.layout import require_trainable
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.forms import FORMS
from covtool.data.datasets.retrieval.reading import read_classes, read_retrieval, task_of
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.data.datasets.retrieval.training import training_layout
from covtool.errors import ArgumentError, DataError
from covtool.specs import LayoutSpec


def told(samples):
    return [(sample.path.name, sample.identity, sample.camera) for sample in samples]


def write_folders(root):
    write_classes(root / "train", {"ant": 2, "bee": 2})
    write_classes(root / "test", {"cow": 2, "doe": 3})
    return root


WRITERS = {
    "market1501": write_market,
    "veri": write_veri,
    "msmt17": write_msmt17,
    "layumi": write_layumi,
    "query-gallery": write_plain,
    "in-shop": write_in_shop,
    "vehicleid": write_vehicle_id,
    "sop": write_products,
    "csv": write_csv,
    "folders": write_folders,
}


@pytest.mark.parametrize("form", FORMS.names)
def test_every_form_is_recognized_and_has_what_a_search_needs(form, tmp_path) -> None:
    root = WRITERS[form](tmp_path / "data")
    assert task_of(root) == "retrieval"
    layout = read_retrieval(root)
    assert layout.kind == form
    assert layout.query
    assert layout.gallery
    for samples in layout.subsets.values():
        assert all(sample.path.is_file() for sample in samples)
    assert layout.folder == (root.parent if form == "csv" else root)
    assert sum(row.fits(root) for row in FORMS if row.name not in ("csv", "folders")) <= 1


@pytest.mark.parametrize("form", FORMS.names)
def test_training_identities_are_classes_in_every_form(form, tmp_path) -> None:
    root = WRITERS[form](tmp_path / "data")
    layout = read_retrieval(root)
    classes = training_layout(layout)
    assert classes.class_names == tuple(sorted({s.identity for s in layout.train}))
    labeled = [(s.path, classes.class_names[s.label]) for s in classes.samples("train")]
    assert labeled == [(s.path, s.identity) for s in layout.train]
    assert read_classes(root) == classes
    assert classes.name == layout.name


def test_names_of_market_1501_tell_identity_and_camera(tmp_path) -> None:
    layout = read_retrieval(write_market(tmp_path))
    assert told(layout.query) == [
        ("0001_c1s1_000001_00.jpg", "0001", "1"),
        ("0003_c2s3_000001_00.jpg", "0003", "2"),
    ]
    assert [(s.identity, s.camera) for s in layout.gallery] == [
        ("-1", "1"),
        ("0000", "3"),
        ("0001", "2"),
        ("0003", "2"),
    ]
    assert {s.identity for s in layout.train} == {"0002", "0007"}
    assert not layout.shared


@pytest.mark.parametrize(
    ("name", "identity", "camera"),
    [
        ("0005_c2_f0046985.jpg", "0005", "2"),  # DukeMTMC-reID
        ("0003_c1_5.png", "0003", "1"),  # CUHK03
    ],
)
def test_duke_and_cuhk03_have_the_form_of_market_1501(name, identity, camera, tmp_path) -> None:
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        write_named(tmp_path / folder, name)
    assert told(read_retrieval(tmp_path).query) == [(name, identity, camera)]


def test_a_folder_of_data_sets_is_refused_with_their_names(tmp_path) -> None:
    for name in ("detected", "labeled"):
        write_market(tmp_path / name)
    assert task_of(tmp_path) == "retrieval"
    with pytest.raises(
        DataError, match=r"holds 2: detected, labeled\.\nChoose one, like .*detected"
    ):
        read_retrieval(tmp_path)


def test_names_of_veri_have_three_digits_for_the_camera(tmp_path) -> None:
    layout = read_retrieval(write_veri(tmp_path))
    assert [s.camera for s in layout.gallery] == ["1", "20", "3"]
    assert [s.camera for s in layout.train] == ["1", "12"]


def test_a_name_that_tells_nothing_is_refused(tmp_path) -> None:
    write_named(write_market(tmp_path) / "query", "photo.jpg")
    with pytest.raises(DataError, match=r"name of .*photo\.jpg states neither identity nor camera"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_both_versions_of_msmt17_are_read_from_their_lists(folders, tmp_path) -> None:
    write_msmt17(tmp_path, train=folders[0], test=folders[1])
    layout = read_retrieval(tmp_path)
    assert [s.camera for s in layout.train] == ["1", "5"]
    assert told(layout.query) == [("0000_000_14_0303morning_0008_0.jpg", "0", "14")]
    assert layout.query[0].path.parent.parent.name == folders[1]
    assert layout.numbers_apart
    classes = training_layout(layout)
    assert [s.label for s in classes.splits["val"]] == [1]
    require_trainable(classes)


def test_a_damaged_list_of_msmt17_is_refused_with_the_line(tmp_path) -> None:
    file = write_msmt17(tmp_path) / "list_query.txt"
    whole = file.read_text()
    file.write_text(whole[:20])
    with pytest.raises(DataError, match=r"list_query\.txt, line 1, is not a path and an identity"):
        read_retrieval(tmp_path)
    file.write_text(whole.replace("_14_", "_15_"))
    with pytest.raises(DataError, match=r"1 of 1 images .* not there.*\n.*\n.*the folder .*test\."):
        read_retrieval(tmp_path)
    file.write_text("")
    with pytest.raises(DataError, match="lists no images"):
        read_retrieval(tmp_path)


def test_msmt17_without_its_images_is_refused(tmp_path) -> None:
    (tmp_path / "list_train.txt").write_text("")
    with pytest.raises(DataError, match="neither train/ and test/ nor mask_train_v2/ and"):
        read_retrieval(tmp_path)


def test_a_csv_file_tells_identity_camera_and_split(tmp_path) -> None:
    layout = read_retrieval(write_csv(tmp_path))
    assert told(layout.query) == [("1.png", "cleo", "c1"), ("1.png", "dan", "c1")]
    assert [len(layout.samples(name)) for name in ("train", "query", "gallery")] == [4, 2, 3]
    with pytest.raises(DataError, match=r"no split called 'test'\.\nIt has: train, query, gallery"):
        layout.samples("test")


@pytest.mark.parametrize(
    ("header", "rows", "cameras"),
    [
        ("Path, Identity ,split", [("1.png", "x", "Test"), ("2.png", "y", "Test")], [None, None]),
        ("path,identity", [("1.png", "x"), ("2.png", "y")], [None, None]),
        ("path,identity,camera", [("1.png", "x", ""), ("2.png", "y", "3")], [None, "3"]),
        ("path,label,split", [("1.png", "x", "val"), ("2.png", "y", "val")], [None, None]),
    ],
)
def test_test_images_of_a_csv_file_are_searched_for_among_themselves(
    header, rows, cameras, tmp_path
) -> None:
    layout = read_retrieval(write_csv(tmp_path, rows, header))
    assert layout.shared
    assert layout.query == layout.gallery == layout.samples("test")
    assert [s.identity for s in layout.query] == ["x", "y"]
    assert [s.camera for s in layout.query] == cameras


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("c/1.png,cleo,c1,quer", "line 6: there is no split 'quer'"),
        ("c/1.png,cleo,c1", "line 6: the split is empty"),
        ("c/1.png,cl", "line 6: the split is empty"),
        ("c/1.png", "line 6: the split is empty"),
        ("c/", "line 6: the split is empty"),
    ],
)
def test_a_csv_file_that_was_cut_off_is_refused_with_the_line(end, message, tmp_path) -> None:
    file = write_csv(tmp_path)
    file.write_text("\n".join([*file.read_text().splitlines()[:5], end]))
    with pytest.raises(DataError, match=message):
        read_retrieval(file)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("1.png", "line 3: the identity is empty"),
        ("1.png,x", r"line 3 ends before the camera\.\nThe file may be cut off"),
        (".png,x,2", "1 of 2 images .* are not there"),
    ],
)
def test_without_splits_too(end, message, tmp_path) -> None:
    file = write_csv(tmp_path, [("1.png", "x", "1")], "path,identity,camera")
    file.write_text(file.read_text() + end)
    with pytest.raises(DataError, match=message):
        read_retrieval(file)


def test_splits_that_contradict_each_other_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="'test' beside 'query'"):
        read_retrieval(write_csv(tmp_path, (*CSV_ROWS, ("f/1.png", "f", "c1", "test"))))


def test_classes_that_are_not_trained_are_there_to_be_searched(tmp_path) -> None:
    write_folders(tmp_path)
    layout = read_retrieval(tmp_path)
    assert layout.shared
    assert [s.identity for s in layout.query] == ["cow", "cow", "doe", "doe", "doe"]
    assert training_layout(layout).class_names == ("ant", "bee")
    write_classes(tmp_path / "val", {"ant": 1, "bee": 1})
    assert task_of(tmp_path) == "retrieval"
    assert len(read_classes(tmp_path).splits["val"]) == 2
    write_classes(tmp_path / "val", {"fox": 1})
    assert task_of(tmp_path) == "retrieval"
    assert list(read_classes(tmp_path).splits) == ["train"]


@pytest.mark.parametrize(
    "folders",
    [
        {"train": "ab", "val": "ab"},
        {"train": "ab", "test": "bc"},
        {"train": "ab"},
        {"": "ab"},
        {"train": "ab", "val": "cd", "test": "ab"},
    ],
)
def test_classes_that_are_trained_are_there_to_be_classified(folders, tmp_path) -> None:
    for folder, classes in folders.items():
        write_classes(tmp_path / folder, dict.fromkeys(classes, 1))
    assert task_of(tmp_path) == "classification"


def test_a_share_of_the_classes_can_be_left_for_the_search(tmp_path) -> None:
    write_classes(tmp_path, dict.fromkeys("edcba", 2))
    layout = read_retrieval(tmp_path, test_classes=0.4)
    assert sorted({s.identity for s in layout.query}) == ["d", "e"]
    assert training_layout(layout).class_names == ("a", "b", "c")
    assert read_classes(tmp_path, test_classes=0.4).class_names == ("a", "b", "c")
    assert len(layout.train) + len(layout.query) == len(read_retrieval(tmp_path).query) == 10
    assert len(scan(tmp_path).class_names) == 5
    with pytest.raises(ArgumentError, match="between 0 and 1, not 1"):
        read_retrieval(tmp_path, test_classes=1.0)


def test_no_share_of_the_classes_is_taken_from_data_that_is_split(tmp_path) -> None:
    with pytest.raises(
        DataError, match=r"has its own splits .*: train, query, gallery\.\nLeave out"
    ):
        read_retrieval(write_csv(tmp_path), test_classes=0.5)


def test_a_csv_file_for_both_tasks_is_trained_on_its_labels_and_else_refused(tmp_path) -> None:
    rows = [("1.png", "x", "7", "train"), ("2.png", "y", "8", "train")]
    file = write_csv(tmp_path, rows, "path,label,identity,split")
    assert read_classes(file) == scan(file)
    with pytest.raises(DataError, match=r"column 'identity' and a column 'label'(.|\n)*--task"):
        task_of(file)
    assert [s.identity for s in read_retrieval(file).train] == ["7", "8"]


def test_a_share_of_the_training_images_is_set_aside_for_validation(tmp_path) -> None:
    file = write_csv(tmp_path)
    classes = read_classes(file, val_fraction=0.5, seed=1)
    assert {key: len(samples) for key, samples in classes.splits.items()} == {"train": 2, "val": 2}
    assert read_classes(file, val_fraction=0.5, seed=1) == classes
    with pytest.raises(DataError, match=r"nothing to validate on(.|\n)*--val-fraction"):
        require_trainable(read_classes(file))


def test_junk_is_no_class(tmp_path) -> None:
    write_named(write_market(tmp_path) / "bounding_box_train", "-1_c1s1_0001_01.jpg")
    assert read_classes(tmp_path).class_names == ("0002", "0007")


def test_what_is_no_data_set_is_refused(tmp_path) -> None:
    assert task_of(tmp_path / "nothing") == "classification"
    with pytest.raises(DataError, match="There is no data set at"):
        read_retrieval(tmp_path / "nothing")
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=r"neither a folder nor a CSV file\.\nFor retrieval"):
        read_retrieval(tmp_path / "x.txt")
    write_named(tmp_path / "data" / "bounding_box_test", "0001_c1s1_000001_00.jpg")
    with pytest.raises(DataError, match="no training images, only: gallery"):
        read_classes(tmp_path / "data")


def test_folders_of_identities_have_query_and_gallery_with_cameras(tmp_path) -> None:
    layout = read_retrieval(write_layumi(tmp_path))
    report = report_on(layout)
    assert {s.identity for s in layout.query} == {"0001", "0003"}
    assert (len(layout.query), len(layout.gallery)) == (6, 12)
    assert (report.junk, report.distractors, report.queries_left) == (3, 3, 6)
    assert {s.camera for s in layout.query} == {"1", "2", "3"}
    require_searchable(layout, report)  # train and val share identities on purpose
    classes = read_classes(tmp_path)
    assert {key: len(samples) for key, samples in classes.splits.items()} == {"train": 6, "val": 2}


def test_lists_of_vehicles_are_chosen_by_their_size(tmp_path) -> None:
    root = write_vehicle_id(tmp_path)
    assert {s.identity for s in read_retrieval(root).query} == {"3", "4"}
    layout = read_retrieval(root, choice=LayoutSpec(data_split=1600))
    assert {s.identity for s in layout.query} == {"3", "5"}
    assert "published protocol" in layout.notes[0]
    with pytest.raises(ArgumentError, match="takes 800, 1600"):
        read_retrieval(root, choice=LayoutSpec(data_split=2400))


def test_items_of_clothes_are_searched_in_the_gallery(tmp_path) -> None:
    layout = read_retrieval(write_in_shop(tmp_path))
    assert [len(layout.samples(n)) for n in ("train", "query", "gallery")] == [4, 2, 4]
    file = tmp_path / "list_eval_partition.txt"
    file.write_text(file.read_text().replace("  query", ""))
    with pytest.raises(DataError, match="not a path, item and use"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize("write", [write_in_shop, write_vehicle_id, write_products])
def test_an_image_of_a_list_that_is_not_there_is_named(write, tmp_path) -> None:
    root = write(tmp_path)
    gone = next(sample.path for sample in read_retrieval(root).searched)
    gone.unlink()
    with pytest.raises(DataError, match=rf"not there\.\nThe first: .*{gone.name}"):
        read_retrieval(root)
