"""The fuzzer sees what it is there to see: calls that misbehave, and one that does not."""

import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from random import Random

import pytest

from covtool.errors import CheckpointError, DataError
from fuzzing.calling import call
from fuzzing.judging import LAWS, Judged, verdict
from fuzzing.kind import Call


def raising(problem):
    def run(words):
        raise problem

    return run


def saying(text, stream=2):
    return lambda words: os.write(stream, text.encode())


def leave_a_file(words):
    Path("out.safetensors.tmp").write_bytes(b"x")


def change_a_file(words):
    Path("file").write_bytes(b"changed")


def refuse_at_length(words):
    os.write(2, b"error: " + b"x" * 20_000)
    raise SystemExit(3)


def connect(words):
    with socket.socket() as asked:  # closed at once: another test would be blamed for it
        asked.connect(("127.0.0.1", 9))


MISBEHAVING = {
    "KeyError": (raising(KeyError("x")), "not foreseen: KeyError"),
    "MemoryError": (lambda words: bytearray(3 << 30), "not foreseen: MemoryError"),
    "another exit code": (raising(DataError("x")), "exit code 4: DataError"),
    "no reason": (raising(SystemExit(3)), "no reason"),
    "a long reason": (refuse_at_length, "long refusal"),
    "an escape": (saying("\x1b[2J", 1), "raw character on stdout"),
    "another direction": (saying("\u202e"), "raw character on stderr"),
    "a warning": (lambda words: warnings.warn("x", stacklevel=1), "library warning: x"),
    "a file": (leave_a_file, "left behind: case/out.safetensors.tmp"),
    "another content": (change_a_file, "left behind: case/file"),
    "a connection": (
        connect,
        "network: connect",
    ),
    "a name": (lambda words: socket.getaddrinfo("localhost", 80), "network: getaddrinfo"),
    "a program": (lambda words: subprocess.run(["true"]), "program: true"),
    "a shell": (lambda words: os.system("true"), "program: "),
    "a secret": (lambda words: Path("/etc/hosts").read_bytes(), "other file: /etc/hosts"),
    "a secret by a link": (lambda words: Path("link").read_bytes(), "other file: /etc/hosts"),
    "no number": (saying('{"top1": NaN}', 1), "silent: figures that are not numbers"),
}


def judged(run, folder, words="evaluate x --json", **more):
    (folder / "case" / "file").write_bytes(b"x")
    (folder / "case" / "link").symlink_to("/etc/hosts")
    asked = Call(tuple(words.split()), frozenset({3}), run=run, **more)
    return verdict(Judged(asked, call(run, list(asked.words), folder, size=0), 0))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("run", "broken"), MISBEHAVING.values(), ids=MISBEHAVING)
def test_what_misbehaves_is_seen(run, broken, case_folder):
    found = judged(run, case_folder)
    assert any(cause.startswith(broken) for cause in found), found


WELL_BEHAVED = {
    "success": lambda words: sys.stdout.write('{"top1": 0.5}\n'),
    "a refusal": raising(CheckpointError("x is not a checkpoint.", reason="It is empty.")),
    "its own file": lambda words: Path("file").read_bytes(),
    "letters of any language": saying("é ü 漢 │ 🙂\n"),
}


@pytest.mark.parametrize("run", WELL_BEHAVED.values(), ids=WELL_BEHAVED)
def test_what_keeps_the_promise_is_not_accused(run, case_folder):
    assert judged(run, case_folder) == []


def test_the_output_of_a_success_may_be_there(case_folder):
    assert judged(leave_a_file, case_folder, writes=("out.safetensors",)) == []


def test_streams_are_given_back_and_a_call_knows_its_time_and_memory(case_folder, capsys):
    def run(words):
        sys.stderr.write("said")
        return sum(Random(0).random() for _ in range(10**5)), b"x" * (50 << 20)

    outcome = call(run, [], case_folder, size=0)
    sys.stdout.write("back")
    assert (outcome.out, outcome.err, capsys.readouterr().out) == ("", "said", "back")
    assert 0 < outcome.cpu_seconds <= outcome.seconds + 1
    assert outcome.memory >= 40 << 20


def test_every_law_says_what_it_is_about():
    assert all(law.__doc__ for law in LAWS)
