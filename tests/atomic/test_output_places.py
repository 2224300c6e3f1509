"""Where an output may go: the same answer from everything that writes a file."""

import os
import socket
import stat

import pytest
from output_writers import WRITERS

from covtool.atomic import require_writable, written_whole
from covtool.errors import ArgumentError, OutputExistsError

pytestmark = pytest.mark.parametrize("name", WRITERS)

OLD = b"what was there"


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES = {
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (os.mkfifo, "is a pipe, not a file"),
    "socket": (make_socket, "is a socket, not a file"),
    "device": (lambda path: path.symlink_to("/dev/full"), "is a device, not a file"),
    "open file": (lambda path: path.symlink_to("/proc/self/fd/1"), "not a file"),
    "circle of links": (lambda path: path.symlink_to(path), "cannot be written"),
    "link to a pipe": (
        lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
        "is a pipe, not a file",
    ),
    "link into nowhere": (lambda path: path.symlink_to("no/where.bin"), "There is no folder"),
}


def seen(folder):
    """What is in a folder; when it was last looked at does not matter."""
    found = {path: path.lstat() for path in folder.iterdir()}
    return {path: (of.st_mode, of.st_ino, of.st_mtime_ns) for path, of in found.items()}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_file_is_refused_and_stays(name, kind, overwrite, tmp_path):
    make, words = NO_FILES[kind]
    make(tmp_path / name)
    before = seen(tmp_path)
    with pytest.raises(ArgumentError, match=words):
        WRITERS[name](tmp_path / name, overwrite=overwrite)
    assert seen(tmp_path) == before


IMPOSSIBLE = {
    "a NUL": "a\0b{}",
    "a lone surrogate": "a\ud800b{}",
    "300 characters": "x" * 300 + "{}",
    "300 characters in the folder's name": "x" * 300 + "/a{}",
    "a folder that is a file": "file/a{}",
    "a folder that is not there": "nowhere/a{}",
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_names_that_no_file_can_have_are_refused_in_one_line(name, kind, tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    path = tmp_path / IMPOSSIBLE[kind].format(name[name.index(".") :])
    with pytest.raises(ArgumentError) as caught:
        WRITERS[name](path, overwrite=True)
    said = (caught.value.message, caught.value.reason or "")
    assert all(text.isprintable() for text in said)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_is_followed_and_stays(name, tmp_path):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / name, tmp_path / name
    target.write_bytes(OLD)
    link.symlink_to(f"deep/{name}")
    with pytest.raises(OutputExistsError):
        WRITERS[name](link, overwrite=False)
    assert target.read_bytes() == OLD
    WRITERS[name](link, overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() != OLD
    assert {path.name for path in tmp_path.rglob("*")} == {"deep", name}


def test_where_a_link_leads_to_nothing_the_file_is_made(name, tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / name
    link.symlink_to(f"deep/{name}")
    WRITERS[name](link, overwrite=False)
    assert link.is_symlink()
    assert (tmp_path / "deep" / name).stat().st_size > 0


@pytest.mark.parametrize("mode", [0o640, 0o444])
def test_an_existing_file_hands_on_its_mode(name, mode, tmp_path):
    path = tmp_path / name
    path.write_bytes(OLD)
    path.chmod(mode)
    WRITERS[name](path, overwrite=True)
    assert path.read_bytes() != OLD
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_existing_file_hands_on_its_owner(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(OLD)
    os.chown(path, 65534, 65533)
    path.chmod(0o640)
    WRITERS[name](path, overwrite=True)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65533, 0o640)


def test_a_new_file_has_the_mode_that_the_umask_says(name, tmp_path):
    before = os.umask(0o027)
    try:
        WRITERS[name](tmp_path / name, overwrite=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def no_links(*_, **__):
    raise OSError("not supported")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_stays(name, links, tmp_path, monkeypatch):
    path, real = tmp_path / name, os.fsync

    def appearing(handle):
        real(handle)
        if os.fstat(handle).st_size > 4096:  # not what is tried beforehand
            path.write_bytes(OLD)

    monkeypatch.setattr(os, "fsync", appearing)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputExistsError):
        WRITERS[name](path, overwrite=False)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_file_has_two_names_it_is_written_all_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    WRITERS[name](tmp_path / name, overwrite=False)
    assert (tmp_path / name).stat().st_size > 4096
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_can_be_written_is_not_refused_and_leaves_nothing(name, tmp_path):
    require_writable(tmp_path / name, overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_names_as_long_as_names_can_be_are_written(name, tmp_path):
    suffix = name[name.index(".") :]
    path = tmp_path / ("é" * ((255 - len(suffix)) // 2) + suffix)
    WRITERS[name](path, overwrite=False)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_has_no_name_before_it_is_whole(name, tmp_path):
    with written_whole(tmp_path / name) as temporary:
        temporary.write_bytes(b"half")
        assert not (tmp_path / name).exists()
    assert (tmp_path / name).read_bytes() == b"half"
