"""What a process leaves behind that was ended while it wrote, and who removes it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from output_writers import contents

from covtool.atomic import require_writable, staging, written_whole
from covtool.file_locks import HeldLock

WRITING = """
import sys, time
from pathlib import Path
from covtool.atomic import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    temporary.with_name(".tmpother").write_bytes(b"of a library")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writing(tmp_path):
    """Another process that is in the middle of writing a.bin."""
    command = [sys.executable, "-c", WRITING, tmp_path / "a.bin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_process_leave_nothing(writing, tmp_path, number):
    writing.send_signal(number)
    assert writing.wait(10) == -number  # ended by it, as without covtool
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_there(writing, tmp_path):
    writing.kill()
    writing.wait(10)
    assert len(contents(tmp_path)) == 3  # with the lock
    require_writable(tmp_path / "b.bin", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_is_writing_stays(writing, tmp_path):
    before = contents(tmp_path)
    with written_whole(tmp_path / "b.bin") as temporary:
        temporary.write_bytes(b"whole")
    assert contents(tmp_path) == {**before, tmp_path / "b.bin": b"whole"}


def left(folder, *, host, age_s=0, locked=True):
    """A staging folder of a process that is gone."""
    made = folder / f".a.bin.covtool-{host:08x}-123-abcd.tmp"
    made.mkdir()
    for name in ["a.bin", *([staging.LOCK] if locked else [])]:
        (made / name).touch()
    for path in (*made.iterdir(), made):
        os.utime(path, (time.time() - age_s,) * 2)
    return made


@pytest.mark.parametrize(
    ("host", "age_s", "stays"),
    [
        (staging._HOST, 0, False),
        (staging._HOST ^ 1, 3600, True),
        (staging._HOST ^ 1, 90_000, False),
    ],
)
def test_folders_of_other_hosts_get_a_day(tmp_path, host, age_s, stays):
    made = left(tmp_path, host=host, age_s=age_s)
    require_writable(tmp_path / "b.bin", overwrite=False)
    assert made.exists() == stays


@pytest.mark.parametrize(("age_s", "stays"), [(3600, True), (90_000, False)])
def test_so_do_all_where_there_are_no_locks(tmp_path, monkeypatch, age_s, stays):
    def opened(path):
        path.touch()
        return HeldLock(path, None)

    monkeypatch.setattr(staging, "take_lock", opened)
    made = left(tmp_path, host=staging._HOST, age_s=age_s)
    require_writable(tmp_path / "b.bin", overwrite=False)
    assert made.exists() == stays


def test_nothing_else_is_removed(tmp_path):
    names = ["a.tmp", ".a.tmp", ".a.bin.123.tmp", ".a.covtool-12-3-4.tmp", "covtool.tmp"]
    for name in names:
        (tmp_path / name).mkdir()
    linked = tmp_path / f".a.bin.covtool-{staging._HOST:08x}-1-abcd.tmp"
    linked.symlink_to("a.tmp")
    full = left(tmp_path, host=staging._HOST, locked=False)  # no lock of ours: not known
    require_writable(tmp_path / "b.bin", overwrite=False)
    assert {path.name for path in tmp_path.iterdir()} == {*names, linked.name, full.name}


def test_a_folder_that_was_tidied_away_too_early_is_made_again(tmp_path, monkeypatch):
    real, taken = staging._locked, []

    def late(path):
        if not taken:
            taken.append(path)
            staging.remove_abandoned(tmp_path)
        return real(path)

    monkeypatch.setattr(staging, "_locked", late)
    with written_whole(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"whole")
    assert contents(tmp_path) == {tmp_path / "a.bin": b"whole"}


def test_handlers_that_are_set_stay(tmp_path):
    arrived = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: arrived.append(number))
    try:
        with written_whole(tmp_path / "a.bin") as temporary:
            signal.raise_signal(signal.SIGTERM)
            temporary.write_bytes(b"whole")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert arrived == [signal.SIGTERM]
    assert Path(tmp_path / "a.bin").read_bytes() == b"whole"


def test_signals_do_what_they_did_afterwards(tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    with written_whole(tmp_path / "a.bin"):
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == before
