"""What files are, asked of their folders: the same as of each file."""

import os
from pathlib import Path

import pytest

from covtool.data.datasets import folder_entries
from covtool.data.datasets.folder_entries import all_are_files, links_among
from covtool.data.datasets.image_paths import ImagePaths
from covtool.data.datasets.reading import scan
from covtool.regular_files import is_regular

COUNT = 20


@pytest.fixture
def folder(tmp_path):
    """A folder of files, with a second one that few are listed of."""
    for place in ("many", "few"):
        (tmp_path / place).mkdir()
        for number in range(COUNT):
            (tmp_path / place / f"{number}.jpg").write_bytes(b"")
    return tmp_path


def listed(folder, *more):
    """Paths: every file of one folder, two of the other, and more of the first, among them."""
    few = [folder / "few" / f"{number}.jpg" for number in range(2)]
    many = [folder / "many" / f"{number}.jpg" for number in range(COUNT)]
    added = [folder / "many" / name for name in more]
    return ImagePaths.of_texts(map(str, [*many[:5], *added, *few, *many[5:]]))


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_link(path):
    path.symlink_to("0.jpg")


def a_link_to_nothing(path):
    path.symlink_to("nothing.jpg")


def a_link_to_a_folder(path):
    path.symlink_to("../few")


def nothing(path):
    pass


@pytest.mark.parametrize(
    "make", [a_folder, a_pipe, a_link, a_link_to_nothing, a_link_to_a_folder, nothing]
)
def test_all_are_files_if_each_is(folder, make) -> None:
    make(folder / "many/odd.jpg")
    paths = listed(folder, "odd.jpg")
    assert all_are_files(paths) == all(map(is_regular, paths.texts()))
    assert all_are_files(listed(folder))
    (folder / "few/1.jpg").unlink()
    assert not all_are_files(listed(folder))


@pytest.mark.parametrize("most", [1 << 18, 3])
def test_links_are_those_that_the_system_says_are(folder, monkeypatch, most) -> None:
    monkeypatch.setattr(folder_entries, "_MOST", most)  # the entries end before the names
    for name in ("one.jpg", "other.jpg"):
        a_link(folder / "many" / name)
    (folder / "few/0.jpg").unlink()
    a_link(folder / "few/0.jpg")
    paths = listed(folder, "one.jpg", "other.jpg")
    expected = [place for place, text in enumerate(paths.texts()) if Path(text).is_symlink()]
    assert len(expected) == 3
    assert sorted(links_among(paths)) == expected
    assert all_are_files(listed(folder, "one.jpg")) == (folder / "few/0.jpg").exists()


def test_a_folder_that_may_not_be_listed_is_asked_for_each_file(folder, monkeypatch) -> None:
    def closed(path):
        raise PermissionError(13, "Permission denied", path)

    a_link(folder / "many/link.jpg")
    monkeypatch.setattr(os, "scandir", closed)
    assert all_are_files(listed(folder, "link.jpg"))
    assert list(links_among(listed(folder, "link.jpg"))) == [5]
    assert not all_are_files(listed(folder, "nothing.jpg"))


def test_a_folder_that_may_be_listed_but_not_entered_is_noticed(folder, monkeypatch) -> None:
    monkeypatch.setattr(folder_entries, "is_regular", lambda path: False)
    assert not all_are_files(listed(folder))


def test_a_list_of_many_files_asks_for_one_of_each_folder(folder, monkeypatch) -> None:
    rows = [f"many/{number}.jpg,{'ab'[number % 2]}" for number in range(COUNT)]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    asked = []
    for name in ("stat", "lstat"):
        real = getattr(os, name)

        def noting(path, *rest, real=real, **options):
            asked.append(str(path))
            return real(path, *rest, **options)

        monkeypatch.setattr(os, name, noting)
    assert len(scan(folder / "list.csv").splits["train"]) > 0
    assert [path for path in asked if path.endswith(".jpg")] == [str(folder / "many/0.jpg")]
