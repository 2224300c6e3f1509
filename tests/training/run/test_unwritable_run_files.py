"""What is in the way of a run's own files."""

import os

import pytest

from covtool.errors import CovtoolError, SaveError
from covtool.training.run.directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path, "finetune", "net")


@pytest.fixture
def started(run):
    run.write_yaml("args.yaml", {})
    return run.path


@pytest.mark.parametrize(
    "name", [".lock", "metrics.jsonl", "result.json", "exported/best.safetensors"]
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(started, name):
    os.mkfifo(started / name)
    with pytest.raises(CovtoolError, match="It is a pipe, not a file"):
        RunDirectory.open(started)


@pytest.mark.parametrize("name", [".lock", "summary.csv", "result.json", "checkpoints/last.pt"])
@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_run_does_not_write_through_links(started, tmp_path, name, there):
    other = tmp_path / "other"
    if there:
        other.write_text("mine")
    (started / name).symlink_to(other)
    with pytest.raises(CovtoolError, match="It is a link, not a file"):
        RunDirectory.open(started)
    assert other.exists() == there


def test_a_file_that_cannot_be_written_is_one_error(run, monkeypatch):
    def refuse(handle):
        raise OSError(30, "Read-only file system", "/a/name/that/nobody/gave")

    monkeypatch.setattr(os, "fsync", refuse)
    for write in (run.write_json, run.write_yaml):
        with pytest.raises(SaveError, match=r"result.json cannot be written.\nRead-only file sys"):
            write("result.json", {"best": 1})
    assert {path.name for path in run.path.iterdir()} == {"checkpoints", "exported"}


def test_what_a_killed_run_left_is_removed_and_nothing_else(run):
    left = run.path / "exported/.best.safetensors.covtool-00000000-1-abcd.tmp"
    left.mkdir()
    (left / "best.safetensors").write_bytes(b"half")
    (run.path / "exported/.of-an-older-version.tmp").write_bytes(b"half")
    (run.path / "notes.tmp").write_text("mine")
    with run.in_use():
        names = {path.name for path in run.path.rglob("*")}
    assert names == {"checkpoints", "exported", "notes.tmp", ".lock"}
