"""`covtool finetune --seeds` and `--folds` as a user starts, kills, resumes and uses them."""

import csv
import json
import os
import shutil
import signal
import time

import pytest
import yaml
from forked_command import ForkedCommand
from in_process import covtool
from toy_data import write_toy_data
from training_runs import content

TINY = ("--from-scratch", "--img-size", "32", "-b", "6", "-j", "0", "--device", "cpu")
PATIENCE_S = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    write_toy_data(folder / "toy", train=4, val=2)
    run = ("finetune", "test_resnet", "--data", "toy", *TINY, "--epochs", "2")
    done = covtool(*run, "--folds", "2", "--experiment", "cv", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed").write_text(done.stdout)
    return folder


def test_the_table_has_every_run_with_mean_and_deviation(folder) -> None:
    printed = (folder / "printed").read_text()
    for part in ("fold-1", "fold-2", "best top-1 (%)", "standard deviation", "predictions.csv"):
        assert part in printed


def test_resuming_what_is_complete_shows_it_again(folder) -> None:
    done = covtool("finetune", "--resume", "runs/finetune/cv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [run["fold"] for run in found["runs"]] == [1, 2]
    assert found["figures"]["best_eval_top1"]["count"] == 2


def test_runs_that_are_guesses_or_ended_early_are_marked_wherever_they_are_shown(
    folder, tmp_path
) -> None:
    shutil.copytree(folder / "toy", tmp_path / "toy")
    parent = shutil.copytree(folder / "runs/finetune/cv", tmp_path / "runs/finetune/cv")
    for name, ends in (("fold-1", {"is_chance": True}), ("fold-2", {"stopped_early": True})):
        file = parent / name / "result.json"
        both = {"is_chance": False, "stopped_early": False, **ends}
        file.write_text(json.dumps({**json.loads(file.read_text()), **both}))
    again = ("finetune", "--resume", "runs/finetune/cv")
    done = covtool(*again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert "Even the best epoch of 1 of 2 runs (fold-1) is no better than a guess" in printed
    assert "1 of 2 runs (fold-2) ended early" in printed
    assert "remark" in printed
    assert printed.count("no better than a guess") == printed.count("ended early") == 2
    found = json.loads(covtool(*again, "--json", cwd=tmp_path).stdout)
    assert [run["is_chance"] for run in found["runs"]] == [True, False]
    assert [run["stopped_early"] for run in found["runs"]] == [False, True]
    assert any("no better than a guess" in note for note in found["notes"])
    saved = json.loads((parent / "result.json").read_text())
    assert saved["notes"] == found["notes"]
    assert saved["runs"][0]["is_chance"] is True
    with (parent / "summary.csv").open() as file:
        ends = [(row["is_chance"], row["stopped_early"]) for row in csv.DictReader(file)]
    assert ends == [("yes", "no"), ("no", "yes"), ("", ""), ("", "")]


def test_a_folder_of_several_runs_is_no_model_and_is_drawn_as_its_runs(folder) -> None:
    parent = "runs/finetune/cv"
    for command in (("evaluate", parent, "--data", "toy"), ("inspect", parent)):
        done = covtool(*command, cwd=folder)
        assert done.returncode == 3
        assert f"{parent}/fold-1" in done.stderr
    done = covtool("plot", "run", parent, "-o", "curves.svg", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "fold-1" in done.stdout
    done = covtool("diff", parent, "--against", f"{parent}/fold-1", cwd=folder)
    assert "named twice" in done.stderr


def test_its_settings_make_the_same_again(folder) -> None:
    saved = yaml.safe_load((folder / "runs/finetune/cv/repeats.yaml").read_text())
    assert (saved["folds"], saved["fold"], saved["seeds"]) == (2, None, None)
    done = covtool(
        "finetune", "--config", "runs/finetune/cv/repeats.yaml", "--dry-run", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plan"]["validation_images"] == 6


def test_runs_that_are_killed_end_with_the_very_same_bytes(folder, tmp_path) -> None:
    """SIGKILL at three moments: while the first run begins, trains, and in the second one."""
    saved = yaml.safe_load((folder / "runs/finetune/cv/repeats.yaml").read_text())
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({**saved, "output": str(tmp_path)}))
    parent = tmp_path / "finetune/cv"
    moments = (parent / "fold-1/args.yaml", parent / "fold-1/metrics.jsonl", parent / "fold-2")
    for number, moment in enumerate(moments):
        arguments = ["--resume", str(parent)] if number else ["--config", "settings.yaml"]
        process = ForkedCommand("finetune", *arguments, folder=tmp_path)
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and not moment.exists():
            assert time.monotonic() < deadline, "the runs do not get on"
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert moment.exists(), process.printed()
    assert not (parent / "result.json").exists()
    assert covtool("finetune", "--resume", parent, cwd=tmp_path).returncode == 0
    for name in ("fold-1", "fold-2"):
        assert content(parent / name) == content(folder / "runs/finetune/cv" / name)
    for name in ("predictions.csv", "summary.csv", "folds.csv"):
        assert (parent / name).read_bytes() == (folder / "runs/finetune/cv" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--folds", "1"), "--folds"),
        (("--seeds", "1"), "--seeds"),
        (("--folds", "5"), "fewer training images than the 5 folds"),
        (("--fold", "2"), "--fold has no effect without --folds"),
    ],
)
def test_mistakes_are_named(folder, arguments, message) -> None:
    done = covtool("finetune", "test_resnet", "--data", "toy", *TINY, *arguments, cwd=folder)
    assert done.returncode in (2, 4)
    assert message in done.stderr
