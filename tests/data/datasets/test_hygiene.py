"""What would make figures wrong in silence: an image twice, links in circles, files left out."""

import os
import shutil

import pytest
from images import write_classes, write_image

from covtool.data.datasets.duplicates import notes_on_equal_files, notes_on_equal_matches
from covtool.data.datasets.folders.classes import images_below
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.layout import in_order_of
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import read_retrieval
from covtool.errors import DataError


def _splits(root, train, val):
    write_classes(root / "train", train)
    write_classes(root / "val", val)
    for number, path in enumerate(sorted((root / "val").rglob("*.png"))):
        write_image(path, seed=9000 + number)
    return root


def _csv(root, *rows):
    write_classes(root, {"a": 3, "b": 3})
    (root / "list.csv").write_text("\n".join(("path,label,split", *rows)) + "\n")
    return root / "list.csv"


def test_an_image_in_two_splits_is_refused_with_the_first_ones(tmp_path):
    file = _csv(
        tmp_path,
        "a/000.png,a,train",
        "b/000.png,b,train",
        "./a/../a/000.png,a,val",
        "b/001.png,b,val",
        "b/000.png,b,val",
    )
    with pytest.raises(DataError, match=r"2 images of .* 'train' and in 'val'\.\n.*000\.png"):
        scan(file)


def test_an_image_with_two_labels_is_refused(tmp_path):
    file = _csv(tmp_path, "a/000.png,a,train", "b/000.png,b,train", "a/000.png,b,train")
    with pytest.raises(DataError, match=r"1 image of .* two labels\.\na/000.png is 'a' and 'b'"):
        scan(file)


def test_an_image_that_is_listed_again_is_counted(tmp_path):
    file = _csv(tmp_path, "a/000.png,a,train", "b/000.png,b,train", "a/000.png,a,train")
    layout = scan(file)
    assert len(layout.splits["train"]) == 3
    assert "1 image is listed more than once." in layout.notes


def test_a_random_split_never_has_an_image_on_both_sides(tmp_path):
    rows = [f"{c}/{n:03}.png,{c},all" for c in "ab" for n in range(3)]
    file = _csv(tmp_path)
    file.write_text("path,label\n" + "".join(f"{r.removesuffix(',all')}\n" * 2 for r in rows))
    splits = scan(file, val_fraction=0.5).splits
    train, val = ({sample.path for sample in splits[key]} for key in ("train", "val"))
    assert train and val and not train & val


@pytest.mark.parametrize("loop", ["a/loop", "a/deep/loop", "loop"])
@pytest.mark.parametrize("where", ["folder itself", "data set", "parent of the data set"])
def test_a_link_that_leads_back_up_is_not_followed(tmp_path, loop, where):
    root = write_classes(tmp_path / "data", {"a": 3, "b": 2})
    write_image(root / "a/deep/9.png", seed=77)
    link = root / loop
    target = {"folder itself": link.parent, "data set": root, "parent of the data set": tmp_path}
    link.symlink_to(os.path.relpath(target[where], link.parent), target_is_directory=True)
    layout = scan(root)
    assert layout.class_names == ("a", "b")
    assert len(layout.splits["train"]) == 6
    assert len(images_below(root)) == 6
    assert any(f"anyway: {loop}." in note for note in layout.notes)


def test_links_that_lead_in_a_circle_outside_end(tmp_path):
    root = write_classes(tmp_path / "data", {"a": 2, "b": 2})
    outside = write_classes(tmp_path / "outside", {"x": 3})
    (root / "a/more").symlink_to(outside)
    (root / "a/again").symlink_to(outside / "x")
    (outside / "x/back").symlink_to(root)
    (outside / "x/up").symlink_to(outside)
    assert len(scan(root).splits["train"]) == 7


def test_a_link_to_another_folder_of_images_is_followed_in_its_place(tmp_path):
    root = write_classes(tmp_path / "data", {"a": 2, "b": 2})
    outside = write_classes(tmp_path / "outside", {"x": 1})
    (root / "a/000-more").symlink_to(outside / "x")
    (root / "c").symlink_to(outside / "x")
    write_image(root / "a/zz/1.png", seed=5)
    names = [os.path.relpath(path, root) for path in images_below(root / "a")]
    assert names == ["a/000.png", "a/001.png", "a/000-more/000.png", "a/zz/1.png"]
    with pytest.raises(DataError, match="two labels"):
        scan(root)


def test_a_class_that_is_a_link_to_another_has_two_labels(tmp_path):
    root = write_classes(tmp_path, {"a": 2, "b": 1})
    (root / "c").symlink_to(root / "a")
    with pytest.raises(DataError, match=r"2 images .* two labels\.\n.*000.png is 'a', .*is 'c'"):
        scan(root)


def test_a_split_that_is_a_link_to_another_is_refused(tmp_path):
    write_classes(tmp_path / "train", {"a": 2, "b": 1})
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(DataError, match=r"3 images .* 'train' and in 'val'"):
        scan(tmp_path)


def test_links_into_a_store_of_contents_are_files_of_their_own(tmp_path):
    """As git-annex and Hugging Face's cache have them: one file there for equal ones here."""
    blob = write_image(tmp_path / "blobs/5d41402abc.png")
    for path in ("data/train/a/1.png", "data/val/a/7.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).symlink_to(blob)
    write_classes(tmp_path / "data/train", {"b": 2})
    layout = scan(tmp_path / "data")
    assert notes_on_equal_files(layout)[0].startswith("1 image of 'val' is also in 'train'")


def test_equal_files_of_two_splits_are_counted(tmp_path):
    root = _splits(tmp_path, {"a": 4, "b": 3}, {"a": 3, "b": 2})
    for name in ("a/000.png", "b/001.png"):
        shutil.copy(root / "train" / name, root / "val" / name)
    layout = scan(root)
    assert notes_on_equal_files(layout) == (
        "2 images of 'val' are also in 'train', byte for byte: figures on them say nothing "
        "(val/a/000.png is train/a/000.png).",
    )
    assert notes_on_equal_files(layout, at_most=12)
    assert "there are 12 images" in notes_on_equal_files(layout, at_most=11)[0]


def test_equal_files_under_two_labels_are_counted(tmp_path):
    root = write_classes(tmp_path, {"a": 4, "b": 3})
    shutil.copy(root / "a/000.png", root / "b/copy.png")
    shutil.copy(root / "a/001.png", root / "a/copy.png")  # the same label: nothing is wrong
    assert notes_on_equal_files(scan(root)) == (
        "2 images have equal files under another label (a/000.png is b/copy.png).",
    )


@pytest.mark.parametrize("shared", [True, False])
def test_queries_that_find_their_own_file_are_counted(tmp_path, shared):
    write_classes(tmp_path, {"a": 3, "b": 3})
    shutil.copy(tmp_path / "a/000.png", tmp_path / "a/again.png")
    splits = ("test", "test") if shared else ("query", "gallery")
    rows = [f"a/000.png,a,{splits[0]}", f"a/again.png,a,{splits[1]}"]
    rows += [f"{n}/{k}.png,{n},{splits[k == '002']}" for n in "ab" for k in ("001", "002")]
    (tmp_path / "list.csv").write_text("\n".join(("path,identity,split", *rows)) + "\n")
    (note,) = notes_on_equal_matches(read_retrieval(tmp_path / "list.csv"), at_most=10)
    assert note.startswith("2 of 6 queries have" if shared else "1 of 3 queries has")
    assert "a/000.png is a/again.png" in note
    (note,) = notes_on_equal_matches(read_retrieval(tmp_path / "list.csv"), at_most=1)
    assert "not checked" in note


def test_files_of_the_same_size_and_middle_are_not_equal_for_that(tmp_path):
    root = _splits(tmp_path, {"a": 2, "b": 2}, {"a": 2})
    content = bytes(range(256)) * 64
    (root / "train/a/x.png").write_bytes(content)
    (root / "val/a/x.png").write_bytes(content[:-1] + b"!")
    assert notes_on_equal_files(scan(root)) == ()


def test_classes_without_images_in_a_split_are_named(tmp_path):
    root = _splits(tmp_path, {"a": 1, "b": 1, "c": 1, "d": 1}, {"a": 1, "c": 0})
    (root / "val/nobody").mkdir()
    assert scan(root).notes == (
        "3 of 4 classes have no images in 'val': b, c, d.",
        "Folders of 'val' without images: nobody.",
    )


def test_files_that_are_no_images_are_counted_by_suffix(tmp_path):
    root = write_classes(tmp_path, {"a": 2, "b": 2})
    for name in ("a/x.HEIC", "a/y.heic", "b/z.npy", "b/raw", "a/.hidden.heic", "a/info.txt"):
        (root / name).touch()
    (root / "LICENSE").touch()
    write_image(root / "loose.png")
    notes = (
        f"1 image of {root} beside its class folders left out.",
        "4 files with other suffixes left out: (none) .heic .npy.",
    )
    assert scan(root).notes == notes
    assert read_retrieval(root).notes == notes


def test_what_is_embedded_leaves_nothing_out_in_silence(tmp_path):
    write_image(tmp_path / "1.png")
    write_image(tmp_path / "sub/2.png")
    (tmp_path / "sub/3.heic").touch()
    source = find_images(tmp_path)
    assert len(source.splits["all"]) == 2
    assert source.notes == ("1 file with other suffixes left out: .heic.",)


def test_a_clean_data_set_has_no_notes(tmp_path):
    layout = scan(_splits(tmp_path, {"a": 2, "b": 2}, {"a": 1, "b": 1}))
    assert layout.notes == notes_on_equal_files(layout) == ()


def test_class_folders_of_numbers_are_in_the_order_of_numbers(tmp_path):
    layout = scan(write_classes(tmp_path, {str(n): 1 for n in (10, 9, 0, 2)}))
    assert layout.class_names == ("0", "2", "9", "10")
    assert [sample.path.parent.name for sample in layout.splits["train"]] == ["0", "10", "2", "9"]


def test_labels_follow_classes_into_another_order(tmp_path):
    layout = scan(write_classes(tmp_path, {"a": 1, "b": 2, "c": 1}))
    other = in_order_of(layout, ("c", "a", "b"))
    for before, after in zip(layout.splits["train"], other.splits["train"], strict=True):
        assert before.path == after.path
        assert layout.class_names[before.label] == other.class_names[after.label]
    assert in_order_of(layout, ("a", "b", "x")) is layout
