"""Whatever a case does, the process that runs it is ended in time and its end is told."""

import os
import signal
import time
import warnings

import pytest

from fuzzing import bounds
from fuzzing.case import Case
from fuzzing.children import run_cases
from fuzzing.kind import Call, Kind
from fuzzing.mutators.raw import RAW


def make(folder):
    (folder / "file").write_bytes(bytes(range(256)))


def compute(words):
    while True:
        pass


def wait_for_a_pipe(words):
    os.mkfifo("pipe")
    os.open("pipe", os.O_RDONLY)


ENDS = {
    "it computes": (compute, "slow"),
    "it waits": (wait_for_a_pipe, "hang"),
    "it waits for ever": (lambda words: time.sleep(600), "hang"),
    "it dies": (lambda words: os.kill(os.getpid(), signal.SIGKILL), "killed: SIGKILL"),
    "it leaves": (lambda words: os._exit(7), "ended: 7"),
    "it stays a moment": (lambda words: time.sleep(0.1), None),
}


@pytest.fixture
def brief(monkeypatch):
    """Bounds that a test can wait for."""
    monkeypatch.setattr(bounds, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(bounds, "SECONDS", 0.5)
    monkeypatch.setattr("fuzzing.children.GRACE", 0.2)


def reports(run, tmp_path, count=1, jobs=1):
    kind = Kind("fake", make, {"file": RAW}, (Call(("x",), frozenset({3}), run=run),))
    (tmp_path / "seeds" / "fake").mkdir(parents=True)
    make(tmp_path / "seeds" / "fake")
    cases = [Case(kind, 0, number) for number in range(count)]
    with warnings.catch_warnings():  # a process with threads forks: xdist's workers have one
        warnings.simplefilter("ignore", DeprecationWarning)
        found = run_cases(cases, tmp_path / "seeds", tmp_path / "work", jobs=jobs)
        return [report for report, _ in found]


@pytest.mark.parametrize(("run", "broken"), ENDS.values(), ids=ENDS)
def test_the_end_of_a_case_is_told(run, broken, brief, tmp_path):
    (report,) = reports(run, tmp_path)
    assert [cause.partition(" (")[0] for cause in report.broken] == ([broken] if broken else [])
    assert report.calls[0].words == "x"
    assert not list((tmp_path / "work").iterdir())


def test_several_run_at_a_time_and_each_is_told_once(tmp_path):
    found = reports(lambda words: None, tmp_path, count=5, jobs=3)
    assert sorted(report.name for report in found) == [f"fake-0-{n}" for n in range(5)]
    assert not any(report.broken for report in found)
