import json
import signal
from dataclasses import dataclass

import pytest
import torch
from forked_command import ForkedCommand
from images import write_classes

from covtool.backbones.create import create_model
from covtool.checkpoints.model_file import save
from covtool.errors import CovtoolError, DataError, LostProcessError
from covtool.specs import BaseSpec, InputSpec, Provenance, Recipe
from covtool_cli import launching, main, render


@dataclass
class Failure:
    """As torch's launcher describes a process that failed."""

    local_rank: int
    exitcode: int
    timestamp: int = 0

    def signal_name(self):
        return signal.Signals(-self.exitcode).name


def test_the_exit_code_is_that_of_the_process_that_failed_first():
    lost = Failure(0, 1, timestamp=8)
    assert launching._exit_code([lost, Failure(1, 4, timestamp=7)], 2) == 4
    ended_by_launcher = Failure(0, -signal.SIGTERM)
    assert launching._exit_code([ended_by_launcher, Failure(1, 5)], 2) == 5


def test_a_process_that_was_killed_is_named():
    failures = [Failure(0, 1), Failure(1, -signal.SIGKILL)]
    with pytest.raises(CovtoolError, match="Rank 1 of 2 was ended by SIGKILL") as caught:
        launching._exit_code(failures, 2)
    assert "memory" in caught.value.reason


@pytest.mark.parametrize(
    ("nproc", "code", "message"),
    [("3", 2, "--nproc is 3, but torchrun has started 2 processes here"), ("2", 4, "no data set")],
)
def test_under_torchrun_nproc_must_agree_with_it(covtool, monkeypatch, nproc, code, message):
    # One process in all, so that no other has to be waited for.
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    data = "." if code == 2 else "nowhere"
    got, _, err = covtool("evaluate", "test_resnet", "--data", data, "--nproc", nproc)
    assert (got, message in err) == (code, True), err


def be_second_of_two(monkeypatch):
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")


def test_only_the_first_of_several_processes_speaks(monkeypatch, capsys):
    def speak():
        render.line("result")
        render.json_object({"a": 1})
        render.note("note")
        return capsys.readouterr()

    assert speak() == ('result\n{\n  "a": 1\n}\n', "note\n")
    be_second_of_two(monkeypatch)
    assert speak() == ("", "")


def reported(problem, capsys):
    return main._report(problem), capsys.readouterr().err


def test_an_error_that_all_have_is_told_by_the_first(monkeypatch, capsys):
    assert reported(DataError("bad"), capsys) == (4, "error: bad\n")
    be_second_of_two(monkeypatch)
    assert reported(DataError("bad"), capsys) == (4, "")


def test_an_error_of_one_process_is_told_by_that_one(monkeypatch, capsys):
    be_second_of_two(monkeypatch)
    problem = DataError("mine")
    problem.tell_once = lambda tell: tell()
    assert reported(problem, capsys) == (4, "error: mine\n")
    problem.tell_once = lambda tell: 7
    assert reported(problem, capsys) == (7, "")


def test_the_launcher_knows_better_who_was_lost(monkeypatch, capsys):
    assert "lost another process" in reported(LostProcessError(0, 2), capsys)[1]
    monkeypatch.setenv(launching.LAUNCHED, "1")
    assert reported(LostProcessError(0, 2), capsys) == (1, "")


def test_nproc_runs_the_command_in_several_processes_and_prints_one_object(tmp_path):
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_resnet")
    model = create_model(base, num_classes=2)
    model.recipe = Recipe(
        base=base,
        num_classes=2,
        class_names=("a", "b"),
        input=InputSpec(size=(32, 32)),
        provenance=Provenance(covtool_version="0"),
    )
    path = save(model, tmp_path / "net.safetensors")
    data = write_classes(tmp_path / "data" / "val", {"a": 3, "b": 4}).parent
    arguments = ["evaluate", path, "--data", data, "-b", "2", "-j", "0", "--nproc", "2", "--json"]
    # Forked: it starts two fresh processes, and need not be a third that imports torch.
    (tmp_path / "printed").mkdir()
    command = ForkedCommand(*arguments, folder=tmp_path / "printed")
    assert (command.wait(300), command.printed()) == (0, "")
    assert json.loads(command.stdout.read_text())["images"] == 7
