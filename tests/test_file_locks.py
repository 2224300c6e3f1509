"""Locks between processes where the system gives an error in place of a lock."""

import errno
import os
import signal
import subprocess
import sys

import filelock
import pytest

from covtool.file_locks import locked_file, take_lock


def failing(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    def acquire(lock, **options):
        raise problem

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)


WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
OTHERS = (errno.EIO, errno.EMFILE, errno.EPERM)


@pytest.mark.parametrize(
    "problem",
    [NotImplementedError("no locks"), *(OSError(n, os.strerror(n)) for n in WITHOUT_LOCKS)],
    ids=repr,
)
def test_a_file_system_without_locks_is_known_as_such(tmp_path, monkeypatch, problem) -> None:
    failing(monkeypatch, problem)
    with locked_file(tmp_path / "lock") as is_held:
        assert is_held is None


@pytest.mark.parametrize("number", OTHERS, ids=errno.errorcode.get)
def test_another_error_is_not_taken_for_that(tmp_path, monkeypatch, number) -> None:
    failing(monkeypatch, OSError(number, os.strerror(number)))
    with pytest.raises(OSError, match=os.strerror(number)):
        take_lock(tmp_path / "lock")


def test_a_lock_that_is_held_is_not_taken_again(tmp_path) -> None:
    held = take_lock(tmp_path / "lock")
    assert held.is_held
    assert take_lock(tmp_path / "lock") is None
    held.release(remove=True)
    assert not (tmp_path / "lock").exists()


_OWNER = """
import os, sys, time
from pathlib import Path
from covtool.file_locks import take_lock
held = take_lock(Path(sys.argv[1]))
assert held.is_held
if not os.fork():
    print(os.getpid(), flush=True)
time.sleep(120)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_keep_the_lock_of_a_process_that_was_killed(tmp_path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        child = int(owner.stdout.readline())
        try:
            assert take_lock(path) is None
            owner.kill()
            owner.wait()
            os.kill(child, 0)  # it is alive
            taken = take_lock(path)
            assert taken is not None
            taken.release()
        finally:
            os.kill(child, signal.SIGKILL)
