"""Paths in full, whatever became of the folder that they are relative to."""

import os
from pathlib import Path

import pytest

from covtool.errors import ArgumentError
from covtool.full_paths import absolute, in_full


@pytest.fixture
def gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()


def test_a_path_in_full_is_what_pathlib_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("folder")
    for text in (".", "..", "a", "link/b", "/", "/nowhere/../x"):
        assert in_full(text) == Path(text).resolve()
        assert absolute(Path(text)) == Path(text).absolute()


def test_a_circle_of_links_is_no_error(tmp_path):
    (tmp_path / "link").symlink_to("link")
    assert in_full(tmp_path / "link").name == "link"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_names_that_no_file_can_have_are_named_in_letters(text):
    with pytest.raises(ArgumentError, match=r"No file can be called a\\") as caught:
        in_full(text)
    assert caught.value.message.isprintable()


@pytest.mark.usefixtures("gone")
@pytest.mark.parametrize("function", [in_full, absolute])
def test_a_deleted_working_folder_is_told(function):
    with pytest.raises(ArgumentError, match="a/b leads nowhere: the working folder has been del"):
        function(Path("a/b"))
    assert function(Path(os.sep)) == Path(os.sep)
