"""The end of a command's own process: as Python's, but for the deletion of objects."""

import signal
import subprocess
import sys
import textwrap

import pytest

from covtool_cli import leaving


def process(code: str, **options) -> subprocess.CompletedProcess:
    """Return what a new process did that runs a program with `leaving` in it."""
    program = "import sys\nfrom covtool_cli.leaving import leave\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, **options
    )


# A module of that name stands for torch, whose import takes seconds.
LOADED = "sys.modules['torch'] = sys\n"


@pytest.mark.parametrize("begin", ["", LOADED], ids=["without torch", "with torch"])
def test_exit_handlers_threads_and_streams_come_first(begin) -> None:
    code = """
    import atexit, threading, time
    atexit.register(print, "handled")
    threading.Thread(target=lambda: (time.sleep(0.2), print("waited for"))).start()
    print("flushed", end=" ")
    print("also", end=" ", file=sys.stderr)
    leave(5)
    """
    done = process(begin + textwrap.dedent(code))
    assert done.returncode == 5
    assert done.stdout == "flushed waited for\nhandled\n"
    assert done.stderr == "also "


def test_objects_are_not_deleted_where_torch_is_loaded() -> None:
    code = """
    class Kept:
        def __del__(self):
            print("deleted")
    kept = Kept()
    leave(0)
    """
    assert process(code).stdout == "deleted\n"
    assert process(LOADED + textwrap.dedent(code)).stdout == ""


def test_exit_handler_that_fails_changes_nothing() -> None:
    code = """
    import atexit
    atexit.register(print, "later")
    atexit.register(lambda: 1 / 0)
    leave(3)
    """
    done = process(LOADED + textwrap.dedent(code))
    assert (done.returncode, done.stdout) == (3, "later\n")
    assert "ZeroDivisionError" in done.stderr  # as Python reports it


def test_closed_streams_are_passed_over() -> None:
    code = "sys.stdout.close(); sys.stderr = None; leave(4)"
    assert process(LOADED + code).returncode == 4


def test_ctrl_c_at_the_end_leaves_no_traceback() -> None:
    code = """
    import atexit, os, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
    leave(0)
    """
    done = process(LOADED + textwrap.dedent(code))
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_another_thread_raises_as_ever() -> None:
    code = """
    import threading
    def other():
        try:
            leave(7)
        except SystemExit as end:
            print("raised", end.code)
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    """
    assert process(LOADED + textwrap.dedent(code)).stdout == "raised 7\n"


def test_without_torch_the_exit_is_pythons_own(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(SystemExit) as end:
        leaving.leave(2)
    assert end.value.code == 2
