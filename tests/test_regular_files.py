import os
import socket

import pytest

from covtool.regular_files import opened, read_bytes, read_text, require_regular


def test_what_is_no_regular_file_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    (tmp_path / "link").symlink_to("pipe")
    for path, kind in {
        "pipe": "pipe",
        "folder": "folder|directory",
        "link": "pipe",
        "/dev/zero": "device",
    }.items():
        with pytest.raises(OSError, match=kind):
            require_regular(path)
    with pytest.raises(OSError):
        opened("socket")
    server.close()


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "n" * 5000, "", "not there"])
def test_what_is_no_name_of_a_file_is_an_error_of_the_system(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError):
        opened(name)


def test_a_file_is_read_whole_up_to_a_bound(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"one\r\ntwo\rthree\n")
    assert read_bytes(file, at_most=15) == b"one\r\ntwo\rthree\n"
    assert read_text(file) == "one\ntwo\nthree\n"
    with pytest.raises(OSError, match="larger than"):
        read_bytes(file, at_most=14)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(OSError, match=r"not UTF-8 text.*byte 3"):
        read_text(file)
    assert read_text(file, encoding="latin-1") == "café"
