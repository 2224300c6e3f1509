"""Folders that are made, made anew, or only tried; and room on a disk."""

import os
import tempfile
from pathlib import Path

import pytest
from output_writers import small_disk

from covtool.atomic import require_room, require_writable
from covtool.atomic.folders import made_folder, make_way, require_folder, scratch_folder
from covtool.errors import ArgumentError, OutputExistsError, SaveError


def test_folders_that_a_failed_block_leaves_empty_go_again(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyboardInterrupt), made_folder(tmp_path / "there/a/b/c"):
        (tmp_path / "there/a/file").touch()
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.rglob("*")} == {"there", "a", "file"}


def test_what_is_made_anew_is_a_folder_of_its_own(tmp_path):
    folder, file, link = (tmp_path / name for name in ("folder", "file", "link"))
    (folder / "deep").mkdir(parents=True)
    file.touch()
    link.symlink_to(folder)
    for path in (folder, file, link):
        with pytest.raises(OutputExistsError):
            make_way(path, overwrite=False)
    for path in (file, link):
        with pytest.raises(ArgumentError, match="Only a folder is replaced"):
            make_way(path, overwrite=True)
    assert (folder / "deep").is_dir()
    make_way(folder, overwrite=True)
    make_way(folder, overwrite=False)
    assert not folder.exists()


def test_trying_a_folder_makes_none(tmp_path):
    require_folder(tmp_path / "a/b/c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/a", "a\0b", "x" * 300, "dangling/a"])
def test_folders_that_cannot_be_made_are_refused(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("missing")
    with pytest.raises(ArgumentError, match="cannot be written"):
        require_folder(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "dangling"}


def test_a_folder_for_a_while_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("bench") as folder:
        (folder / "images").mkdir()
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_temporary_files_is_told(monkeypatch):
    def nowhere():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    with pytest.raises(ArgumentError, match="TMPDIR"), scratch_folder("bench"):
        pass


def test_a_full_place_for_temporary_files_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with small_disk(tmp_path, size="8k"):
        full = pytest.raises(SaveError, match="No space left on device")
        with full, scratch_folder("bench") as folder:
            (folder / "image").write_bytes(bytes(20_000))
        assert list(tmp_path.iterdir()) == []


def test_room_is_looked_at_before_work(tmp_path):
    with small_disk(tmp_path, size="64k"):
        require_room(tmp_path / "x.bin", 65_536)
        with pytest.raises(ArgumentError, match=r"takes 65,537 bytes, and 65,536 are free"):
            require_room(tmp_path / "x.bin", 65_537)


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """This process as one whose rights are looked at."""
    if os.geteuid() != 0:
        pytest.skip("this process is nobody already")
    monkeypatch.chdir(tmp_path)  # the folders above are closed
    tmp_path.chmod(0o755)
    for name, mode in (("closed", 0o755), ("sticky", 0o1777), ("open", 0o777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        (tmp_path / name / "x.bin").write_bytes(b"root's")
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("closed/new.bin", "Permission denied."),
        ("closed/x.bin", "Permission denied."),
        ("sticky/x.bin", "Another user's file, which only its owner may replace."),
    ],
)
def test_what_this_user_may_not_write_is_told_before_work(path, reason):
    with pytest.raises(ArgumentError, match="cannot be written") as caught:
        require_writable(Path(path), overwrite=True)
    assert caught.value.reason == reason


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("path", ["sticky/new.bin", "open/x.bin"])
def test_what_this_user_may_write_is_not_refused(path):
    require_writable(Path(path), overwrite=True)
