"""`covtool svdnet-rri` as a user calls it, with mistakes as well."""

import csv
import json
import os
import subprocess
import sys

import pytest
from svdnet_training import write_data, write_eigen_model

QUICK = ("-j", "0", "--device", "cpu", "-b", "6", "--img-size", "32")
SHORT = ("--rri", "1", "--base-epochs", "1", "--restraint-epochs", "1", "--relaxation-epochs", "1")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return write_eigen_model(tmp_path_factory.mktemp("model"))


def shown(text):
    return " ".join(text.split())


def test_a_model_is_converted_trained_and_evaluated(covtool, people, tmp_path):
    small = ("test_resnet", "--from-scratch", "--img-size", "32")
    code, _, err = covtool(
        "convert", *small, "--eigenlayer", "8", "--eigenlayer-init", "random", "-o", "a.safetensors"
    )
    assert code == 0, err
    code, out, err = covtool("svdnet-rri", "a.safetensors", "--data", people, *SHORT, *QUICK)
    assert code == 0, err
    assert "train: 24 images, 4 identities, 2 cameras" in err
    assert "12 of 12 queries have another camera's image" in err
    assert err.index("test: 12 images") < err.index("writing to runs/svdnet-rri/a")
    assert "restraint 1 (W <- US, the Eigenlayer is frozen), lr 0.001." in err
    assert "S(W) 1.0000  rank-1" in err
    for phase in ("start", "base", "restraint 1", "relaxation 1"):
        assert phase in out
    assert "S(W)" in out
    run = tmp_path / "runs/svdnet-rri/a"
    assert str(run.relative_to(tmp_path) / "rri.png") in shown(out)
    assert (run / "rri.png").read_bytes().startswith(b"\x89PNG")
    best = run / "exported/best.safetensors"
    code, out, err = covtool("evaluate", best, "--data", people, "--json", "-j", "0")
    assert code == 0, err
    with (run / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = json.loads(out)["figures"]
    # Several phases may have the best rank-1: of 12 queries, and of weights that start at random.
    best_maps = [float(r["eval_mAP"]) for r in rows if float(r["eval_rank1"]) == figures["rank-1"]]
    assert any(found == pytest.approx(figures["mAP"]) for found in best_maps)
    later = [float(row["eval_rank1"]) for row in rows[1:]]  # the start is no epoch
    assert figures["rank-1"] == max(later)
    code, out, _ = covtool("plot", "rri", run, "-o", "again.svg")
    assert (code, (tmp_path / "again.svg").exists()) == (0, True)


def test_a_dry_run_shows_the_phases_and_writes_nothing(covtool, net, people, tmp_path):
    code, out, err = covtool("svdnet-rri", net, "--data", people, *QUICK, "--dry-run")
    assert code == 0, err
    for line in (
        "base │ 1 to 20 │ 0.0005",
        "restraint 1 │ 21 to 30 │ 0.001",
        "restraint 4",
        "0.0001",
    ):
        assert line in shown(out)
    assert "images to search 12" in shown(out)
    assert not (tmp_path / "runs").exists()


def test_a_run_is_resumed_by_its_own_command_only(covtool, net, people):
    assert covtool("svdnet-rri", net, "--data", people, *SHORT, *QUICK)[0] == 0
    run = "runs/svdnet-rri/net"
    code, _, err = covtool("finetune", "--resume", run)
    assert (code, f"Go on with: covtool svdnet-rri --resume {run}" in err) == (2, True)
    code, _, err = covtool("svdnet-rri", "--resume", run, "--lr", "3")
    assert (code, "--lr is 3.0 now" in err) == (2, True)
    code, _, err = covtool("svdnet-rri", "--resume", run, "--rri", "0")
    assert (
        code,
        "With --rri 0 the run would end after epoch 1, but it has begun epoch 3" in err,
    ) == (2, True)
    code, out, err = covtool("svdnet-rri", "--resume", run)
    assert (code, "is complete: 1 iteration, 3 epochs. Add --rri 2" in err) == (0, True)
    code, out, err = covtool("svdnet-rri", "--resume", run, "--rri", "2")
    assert (code, "relaxation 2" in out) == (0, True)


def test_json_is_the_result(covtool, net, people):
    code, out, err = covtool("svdnet-rri", net, "--data", people, *SHORT, *QUICK, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["metric"], result["epochs"], result["stopped_early"]) == ("rank1", 3, False)


def edited(people, change):
    """Write the lines of the list, changed, into a file beside it."""
    header, *lines = people.read_text().splitlines()
    path = people.with_name("changed.csv")
    path.write_text("\n".join([header, *change(lines)]) + "\n")
    return path


def truncated(lines):
    return [*lines[:-1], lines[-1][: len(lines[-1]) // 2]]


def shared(lines):
    return [*lines, lines[0].replace(",train", ",test")]


def single(lines):
    return [line for line in lines if line.endswith(",train") or "/0.png" in line]


def same_camera(lines):
    return [line.replace(",c2,test", ",c1,test") for line in lines]


def without_train(lines):
    return [line for line in lines if not line.endswith(",train")]


def without_test(lines):
    return [line for line in lines if line.endswith(",train")]


def one_identity(lines):
    return [line for line in lines if "ann" in line or line.endswith(",test")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (truncated, "changed.csv, line 37"),
        (shared, "1 identities are in the training and in the test images"),
        (single, "None of the 3 queries"),
        (same_camera, "have matches by their own camera"),
        (without_train, "has no training images"),
        (without_test, "has nothing to search with"),
        (one_identity, "has a single class"),
    ],
)
def test_data_that_says_nothing_is_refused_and_nothing_is_written(
    covtool, net, people, tmp_path, change, message
):
    data = edited(people, change)
    code, _, err = covtool("svdnet-rri", net, "--data", data, *QUICK)
    data.unlink()
    assert code == 4, err
    assert message in shown(err)
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test_resnet", "--from-scratch"], "Put one in: covtool convert MODEL --eigenlayer"),
        (["NET", "--epochs", "3"], "--base-epochs"),
        (["NET", "--val-fraction", "0.1"], "No such option"),
        (["NET", "--eval-metric", "top1"], "rank1"),
        (["NET", "--lrs", "0"], "learning rates are positive"),
        (["NET", "--max-memory", "1kB"], "The search needs"),
        (["NET", "--freeze", "*eigenlayer*"], "--freeze holds the Eigenlayer"),
        (["NET", "--warmup-epochs", "20"], "leaves nothing of the first phase's 20 epochs"),
        (
            ["NET", "--sched", "multistep", "--decay-milestones", "40"],
            "the longest phase has 20 epochs",
        ),
        (["NET", "--rri", "0", "--base-epochs", "0"], "trains nothing"),
        (["NET", "--loss", "ce+triplet", "--mixup", "0.2"], "mixup"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    covtool, net, people, tmp_path, arguments, message
):
    given = [str(net) if argument == "NET" else argument for argument in arguments]
    code, _, err = covtool("svdnet-rri", *given, "--data", people, *QUICK)
    assert code == 2, err
    assert message in shown(err)
    assert not (tmp_path / "runs").exists()


def test_without_scipy_the_optimal_assignment_is_refused_at_once(
    covtool, net, people, tmp_path, monkeypatch
):
    monkeypatch.setattr("covtool.ops.decorrelation.find_spec", lambda name: None)
    code, _, err = covtool("svdnet-rri", net, "--data", people, *QUICK, "--assignment", "optimal")
    assert (code, "pip install 'covtool[scipy]'" in err) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_a_picture_that_cannot_be_drawn_does_not_end_the_run(covtool, net, people, monkeypatch):
    def fail(*_, **__):
        raise OSError("no room")

    monkeypatch.setattr("covtool.plotting.rri.plot_half_steps", fail)
    code, out, err = covtool("svdnet-rri", net, "--data", people, *SHORT, *QUICK)
    assert code == 0, err
    assert err.count("no more figures are drawn: no room") == 1
    assert "rri.png" not in out


@pytest.mark.slow
def test_two_processes_train_as_one(covtool, net, people, tmp_path):
    arguments = ("svdnet-rri", net, "--data", people, *SHORT, *QUICK, "--gc")
    assert covtool(*arguments, "-b", "12", "--experiment", "one")[0] == 0
    command = [sys.executable, "-m", "covtool_cli", *map(str, arguments)]
    done = subprocess.run(
        [*command, "--nproc", "2", "--experiment", "two"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    tables = []
    for name in ("one", "two"):
        with (tmp_path / f"runs/svdnet-rri/{name}/summary.csv").open() as file:
            tables.append(list(csv.DictReader(file)))
    for one, two in zip(*tables, strict=True):
        assert one["phase"] == two["phase"]
        assert float(one["correlation"]) == pytest.approx(float(two["correlation"]), rel=1e-3)
