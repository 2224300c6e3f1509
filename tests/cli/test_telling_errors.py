"""Unexpected errors, and errors while another one is shown."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_texts import HOSTILE, acts_on_a_terminal

from covtool.errors import CovtoolError, DataError, ProcessGroupError
from covtool.processes import joined
from covtool_cli import render, signals


def failing(problem):
    def fail(*arguments, **options):
        raise problem

    return fail


@pytest.fixture
def told(covtool, monkeypatch):
    """Return exit code and stderr of a command that raises a problem."""

    def tell(problem, *more):
        with monkeypatch.context() as patch:
            patch.setattr(render, "table", failing(problem))
            code, _, err = covtool("list", "angulars", *more)
        return code, err

    return tell


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("kind", [RuntimeError, DataError])
@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=len)
def test_no_error_acts_on_a_terminal(told, kind, text, debug):
    code, err = told(kind(text), *debug)
    assert code == (4 if kind is DataError else 1)
    assert not acts_on_a_terminal(err)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "may not open as many files"),
        (OSError(errno.ENOSPC, "No space left on device"), "no room left on the disk"),
        (RuntimeError("can't start new thread"), "no more processes or threads"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("Caught RuntimeError in worker\nx\nRuntimeError: shared memory"), "/dev/shm"),
    ],
    ids=repr,
)
def test_what_the_machine_lacks_is_not_a_defect(told, problem, reason):
    code, err = told(problem)
    assert code == 1
    assert reason in err
    assert "unexpected error" not in err
    assert len(err.splitlines()) == 3


def test_debug_shows_the_traceback_and_keeps_the_exit_code(told):
    code, err = told(DataError("bad"), "--debug")
    assert code == 4
    assert err.startswith("Traceback")
    assert "in fail" in err
    assert err.endswith("error: bad\n")
    assert "Traceback" not in told(DataError("bad"))[1]


@pytest.mark.parametrize("within", [MemoryError(), ImportError("no rich"), RuntimeError("x")])
def test_an_error_is_told_even_where_telling_it_fails(told, monkeypatch, within):
    monkeypatch.setattr(render, "error", failing(within))
    code, err = told(DataError("bad", reason="why", hint="do\nthis"))
    assert (code, err) == (4, "error: bad\nwhy\ndo\nthis\n")


def test_usage_errors_are_printable_wherever_the_value_comes_from(covtool, monkeypatch, tmp_path):
    monkeypatch.setenv("COVTOOL_EVALUATE_ON_BAD_IMAGE", "a\x1b[2J\u202eb")
    shown = [
        covtool("evaluate", "--data", "x")[2],
        covtool("a\x1b[2Jb")[2],
        covtool("list", "--a\x1b[2Jb")[2],
    ]
    monkeypatch.delenv("COVTOOL_EVALUATE_ON_BAD_IMAGE")
    settings = tmp_path / "settings.yaml"
    settings.write_text('data: x\non_bad_image: "a\\e[2J\\u202eb"\n')
    shown.append(covtool("evaluate", "x.pth", "--config", settings)[2])
    for err in shown:
        assert r"a\x1b[2J" in err
        assert not acts_on_a_terminal(err)
    assert "(from COVTOOL_EVALUATE_ON_BAD_IMAGE)" in " ".join(shown[0].replace("│", "").split())
    assert "(from --config or --preset)" in " ".join(shown[-1].replace("│", "").split())


def test_a_wrong_choice_is_shown_without_the_words_of_pydantic(covtool) -> None:
    err = " ".join(covtool("list", "head")[2].replace("│", "").split())
    assert "Invalid value for 'what': 'head' is not one of 'heads'" in err


def test_the_help_keeps_the_brackets_of_an_extra(covtool) -> None:
    assert "covtool[tensorboard]." in covtool("finetune", "--help-all")[1].split()


def test_a_place_to_meet_that_cannot_be_reached_is_named(monkeypatch):
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1"}
    for name, value in {**environment, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.distributed.rendezvous", failing(RuntimeError("timed out\nframe")))
    with pytest.raises(ProcessGroupError) as caught, joined(timeout_s=1):
        pass
    assert "cannot reach the others at 127.0.0.1:1" in caught.value.message
    assert caught.value.reason == "timed out"
    assert caught.value.tell_once(lambda: 5) == 5  # by each process: it knows of no other


@pytest.mark.parametrize(
    "pauses", [pytest.param((0.4,), marks=pytest.mark.slow), (0.9, 0.01)], ids=str
)
def test_ctrl_c_leaves_no_traceback_however_often_and_whenever(pauses):
    command = [sys.executable, "-m", "covtool_cli", "list", "heads"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.close()
    waited = 0
    while not waited or (waited < 50 and not imports_torch(running.pid)):
        time.sleep(0.05)
        waited += 1
    for pause in pauses:
        time.sleep(pause / 2)
        running.send_signal(signal.SIGINT)
    err = running.communicate(timeout=60)[1]
    assert running.returncode in (0, signals.INTERRUPTED, -signal.SIGINT)
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def imports_torch(process):
    try:
        return "libtorch" in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return True


def test_an_error_without_a_message_is_still_an_error(told):
    code, err = told(CovtoolError(""))
    assert (code, err) == (1, "error: \n")
