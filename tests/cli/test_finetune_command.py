import json
import re
import signal

import pytest
import torch
import yaml
from toy_data import write_toy_data

from covtool_cli import progress

QUICK = ["--from-scratch", "--img-size", "32", "--epochs", "2", "-b", "6", "-j", "0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


def finetune(covtool, data, *more):
    return covtool("finetune", "test_resnet", "--data", data, *QUICK, "--device", "cpu", *more)


def test_it_trains_and_says_what_came_of_it(covtool, data, tmp_path):
    code, out, err = finetune(covtool, data, "--gc")
    assert code == 0
    assert re.search(r"best top-1 +\d+\.\d\d % \(epoch \d\)", out)
    assert "runs/finetune/test_resnet/exported/best.safetensors" in out
    assert "36 images to train on, 18 to validate on, 3 classes, 6 updates per epoch" in err
    assert re.search(r"epoch 2/2  train loss \d\.\d+  validation loss .* top-1 \d+\.\d+ %", err)
    assert yaml.safe_load((tmp_path / "runs/finetune/test_resnet/args.yaml").read_text())["gc"]


def test_json_is_one_object_on_stdout(covtool, data):
    code, out, err = finetune(covtool, data, "--json", "--experiment", "mine")
    assert code == 0
    result = json.loads(out)
    assert result["directory"] == "runs/finetune/mine"
    assert set(result["exported"]) == {"best", "last"}
    said = " ".join(err.split())
    assert result["notes"] and all(" ".join(note.split()) in said for note in result["notes"])


def test_a_dry_run_shows_the_groups_and_writes_nothing(covtool, data, tmp_path):
    code, out, _ = finetune(covtool, data, "--dry-run", "--lr", "0.02")
    assert code == 0
    assert re.search(r"head .* 0\.1 ", out)
    assert re.search(r"backbone .* 0\.02 ", out)
    assert "peak memory" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_in_json_names_every_parameter(covtool, data):
    code, out, _ = finetune(covtool, data, "--dry-run", "--json")
    assert code == 0
    names = [name for group in json.loads(out)["plan"]["groups"] for name in group["names"]]
    assert "fc.weight" in names


def test_a_config_file_and_args_yaml_give_the_options(covtool, data, tmp_path):
    (tmp_path / "my.yaml").write_text("lr: 0.03\ngc: true\nscale: [0.5, 1.0]\n")
    assert finetune(covtool, data, "--config", "my.yaml", "--experiment", "a")[0] == 0
    written = tmp_path / "runs/finetune/a/args.yaml"
    arguments = yaml.safe_load(written.read_text())
    assert (arguments["lr"], arguments["gc"], arguments["scale"]) == (0.03, True, [0.5, 1.0])
    code, out, err = covtool("finetune", "--config", written, "--json")
    assert code == 0, err
    assert json.loads(out)["directory"] == "runs/finetune/a-2"
    again = yaml.safe_load((tmp_path / "runs/finetune/a-2/args.yaml").read_text())
    assert again == arguments


def test_ctrl_c_exits_130_and_resume_goes_on(covtool, data, tmp_path, monkeypatch):
    def press(self, record):
        if record.update == 8:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(progress.TrainingLines, "on_step", press)
        code, _, err = finetune(covtool, data)
    assert code == 130
    assert "Interrupted by SIGINT after step 8; the state was saved." in err
    resume = re.search(r"covtool (finetune --resume .*)", err)[1].split()
    code, out, err = covtool(*resume, "--json")
    assert code == 0, err
    assert json.loads(out)["epochs"] == 2
    assert (tmp_path / "runs/finetune/test_resnet/result.json").exists()


def test_resuming_with_another_lr_names_both(covtool, data):
    assert finetune(covtool, data)[0] == 0
    run = "runs/finetune/test_resnet"
    code, _, err = covtool("finetune", "--resume", run, "--lr", "0.5", "--epochs", "3")
    assert code == 2
    assert "--lr is 0.5 now, but the run was started with 0.0005." in err
    code, out, err = covtool("finetune", "--resume", run, "--lr", "5e-4", "--epochs", "3", "--json")
    assert code == 0, err
    assert json.loads(out)["epochs"] == 3
    assert "--epochs changes from 2 to 3." in err


def test_a_non_finite_loss_exits_5_and_says_where(covtool, data, tmp_path):
    more = ("--lr", "1e30", "--sched", "constant", "--warmup-epochs", "0")
    code, _, err = finetune(covtool, data, *more)
    assert code == 5
    assert re.search(r"error: .* at step \d+\.", err)
    assert "The first layer with a non-finite output is" in err
    last = "runs/finetune/test_resnet/checkpoints/last.pt"
    assert last in err
    assert torch.load(tmp_path / last, weights_only=True)["progress"]["updates"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "MODEL is missing"),
        (["test_resnet"], "--data is missing"),
        (["--resume", "nowhere"], "is not a run that can be resumed"),
        (["test_resnet", "--data", ".", "--gc-conv-only"], "has no effect without --gc"),
        (["test_resnet", "--data", ".", "--epochs", "0"], "--epochs 0 is not valid"),
        (["test_resnet", "--data", ".", "--img-size", "0"], "--img-size '0' is not valid"),
        (["--resume", ".", "--dry-run"], "--dry-run is for a new run"),
    ],
)
def test_usage_errors_exit_2(covtool, arguments, message):
    code, _, err = covtool("finetune", *arguments)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["test_resnet", "--data", "nowhere"], 4, "There is no data set at"),
        (["nowhere.pth", "--data", "DATA"], 3, "nowhere.pth"),
        (["test_resnet", "--from-scratch", "--data", "DATA", "--freeze", "x9"], 2, "--freeze 'x9'"),
        (["test_resnet", "--from-scratch", "--data", "DATA", "--opt", "sdg"], 2, "named 'sdg'"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(
    covtool, data, tmp_path, arguments, code, message
):
    filled = [str(data) if argument == "DATA" else argument for argument in arguments]
    got, _, err = covtool("finetune", *filled)
    assert got == code
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_a_bar_is_shown_on_a_terminal_and_taken_away(monkeypatch, capsys):
    from rich.console import Console

    from covtool.training import EpochRecord, StepRecord
    from covtool_cli import render

    monkeypatch.setattr(
        render, "stderr", lambda: Console(stderr=True, force_terminal=True, width=120)
    )
    step = {"epoch": 1, "steps": 2, "loss": 0.5, "lr": 0.01, "grad_norm": 1.0}
    with progress.training_observer() as observer:
        assert isinstance(observer, progress.TrainingBar)
        for number in (1, 2):
            observer.on_step(
                StepRecord(step=number, update=number, images_per_s=99.0, eta_s=75, **step)
            )
        observer.on_epoch(
            EpochRecord(
                epoch=1, epochs=1, train_loss=0.5, figures={"loss": 0.4, "top_1": 75.0},
                lr=0.0, is_best=True, seconds=3.0,
            )
        )  # fmt: skip
    shown = capsys.readouterr().err
    assert "loss 0.5000  lr 0.01  99 images/s  1:15 left" in shown
    assert "top-1 75.00 %  0:03  best so far" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3723, "1:02:03")]
)
def test_durations_are_read_like_a_clock(seconds, text):
    assert progress.duration(seconds) == text
