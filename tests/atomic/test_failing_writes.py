"""Whatever the system says while something is written: one error, and nothing is left behind."""

import errno
import os

import pytest
from output_writers import WRITERS, contents, largest_file, small_disk

from covtool.errors import CovtoolError, SaveError

OLD = b"what was there"


@pytest.fixture(params=WRITERS)
def name(request):
    return request.param


@pytest.fixture
def target(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(OLD)
    return path


WORDS = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EMFILE", "EFBIG")
CASES = [
    *(("any.bin", word, call) for word in WORDS for call in ("replace", "fsync")),
    *((name, "EDQUOT", "fsync") for name in WRITERS),
]


@pytest.mark.parametrize(("name", "number", "call"), CASES)
def test_each_word_of_the_system_is_one_reason(target, name, number, call, monkeypatch):
    number, real = getattr(errno, number), getattr(os, call)

    def refuse(*arguments):
        if call == "fsync" and os.fstat(arguments[0]).st_size <= 4096:
            return real(*arguments)  # what is tried beforehand
        raise OSError(number, os.strerror(number), "/a/name/that/nobody/gave")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(SaveError) as caught:
        WRITERS[name](target, overwrite=True)
    assert caught.value.message == f"{target} cannot be written."
    assert caught.value.reason == f"{os.strerror(number)}."
    assert contents(target.parent) == {target: OLD}


def test_a_file_that_may_not_grow_is_told(target, name):
    with largest_file(5_000), pytest.raises(SaveError, match="cannot be written") as caught:
        WRITERS[name](target, overwrite=True)
    assert "File too large" in caught.value.reason
    assert "ulimit" in caught.value.hint
    assert contents(target.parent) == {target: OLD}


def test_a_disk_that_gets_full_is_told(tmp_path, name):
    with small_disk(tmp_path, size="8k"):
        (tmp_path / name).write_bytes(OLD)
        with pytest.raises(SaveError, match="cannot be written") as caught:
            WRITERS[name](tmp_path / name, overwrite=True)
        assert "No space left on device" in caught.value.reason
        assert "room" in caught.value.hint
        assert contents(tmp_path) == {tmp_path / name: OLD}


def test_a_disk_without_room_for_a_name_is_told(tmp_path, name):
    with small_disk(tmp_path, options=",nr_inodes=1"), pytest.raises(CovtoolError) as caught:
        WRITERS[name](tmp_path / name, overwrite=False)
    assert "No space left on device" in caught.value.reason


def test_a_read_only_disk_is_told(tmp_path, name):
    with small_disk(tmp_path, options=",ro"), pytest.raises(CovtoolError) as caught:
        WRITERS[name](tmp_path / name, overwrite=False)
    assert "Read-only file system" in caught.value.reason


@pytest.mark.parametrize(
    ("name", "end"),
    [*((name, KeyboardInterrupt) for name in WRITERS), ("any.bin", MemoryError)],
)
def test_nothing_is_left_of_a_write_that_is_interrupted(target, name, end, monkeypatch):
    real = os.fsync

    def interrupt(handle):
        real(handle)
        if os.fstat(handle).st_size > 4096:
            raise end

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(end):
        WRITERS[name](target, overwrite=True)
    assert contents(target.parent) == {target: OLD}
