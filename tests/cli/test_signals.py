"""Signals at every stage of a run: saved, or nothing of it is left, or it starts again the same."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from forked_command import ForkedCommand
from toy_data import write_toy_data
from training_runs import assert_same_weights, make_request, weights

from covtool.training import finetune, resume_finetune
from covtool.training.loop import saving
from covtool.training.run.directory import RunDirectory
from covtool.training.start import execute
from covtool.training.start import finetune as starting
from covtool_cli import launching, main, signals

PATIENCE_S = 120
LAST = "checkpoints/last.pt"
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has others")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2, side=16)


@pytest.fixture
def arguments(data):
    tiny = ("--img-size", 16, "--batch-size", 6, "--workers", 0, "--device", "cpu")
    return ("finetune", "test_resnet", "--from-scratch", "--data", data, *tiny, "--epochs", 2)


@pytest.fixture
def folder(tmp_path):
    """Return the folder of a run of these arguments."""
    return tmp_path / "runs/finetune/test_resnet"


def signalled(number, original):
    """Return a function that does what `original` does, after a signal has come."""

    def do(*arguments, **options):
        signal.raise_signal(number)
        return original(*arguments, **options)

    return do


@pytest.mark.parametrize(
    ("stage", "number"),
    list(zip(["read_layout", "open_source", "gather"], NUMBERS, strict=True)),
)
def test_while_a_run_is_prepared_nothing_is_left(
    covtool, arguments, tmp_path, monkeypatch, number, stage
):
    monkeypatch.setattr(starting, stage, signalled(number, getattr(starting, stage)))
    code, _, err = covtool(*arguments)
    assert code == 128 + number
    assert err.endswith("Interrupted: nothing was written.\n")
    assert not list(tmp_path.rglob("*"))


def test_between_a_folder_and_its_arguments_neither_is_left(
    covtool, arguments, folder, monkeypatch
):
    do = signalled(signal.SIGTERM, RunDirectory.write_yaml)
    monkeypatch.setattr(RunDirectory, "write_yaml", do)
    code, _, err = covtool(*arguments)
    assert code == 143, err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ("write_json", signal.SIGHUP),
        ("write_images", signal.SIGINT),
        ("forget_all", signal.SIGTERM),
        ("sync_logs", signal.SIGHUP),
    ],
)
def test_before_the_first_save_the_same_run_starts_again(
    covtool, data, arguments, folder, tmp_path, monkeypatch, stage, number
):
    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, stage, signalled(number, getattr(RunDirectory, stage)))
        code, _, err = covtool(*arguments)
    assert code == 128 + number
    assert "which starts the same run: nothing was trained yet" in err
    assert not list(folder.rglob("*.pt"))
    assert not list(folder.rglob(".*.tmp"))
    if number != signal.SIGHUP:
        return  # the first and the last stage are enough
    code, _, err = covtool("finetune", "--resume", folder)
    assert code == 0
    assert "was saved yet: it starts over" in " ".join(err.split())
    whole = finetune(make_request(data, tmp_path / "whole", img_size=16))
    assert_same_weights(weights(whole.directory / LAST), weights(folder / LAST))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (saving, "export"),
        (execute, "stops_early"),
    ],
)
def test_while_a_run_is_saved_or_ends_the_state_is_whole(
    covtool, arguments, folder, monkeypatch, place, name
):
    with monkeypatch.context() as patched:
        patched.setattr(place, name, signalled(signal.SIGHUP, getattr(place, name)))
        code, _, err = covtool(*arguments)
    assert code == 129, err
    assert not list(folder.rglob(".*.tmp"))
    code, _, err = covtool("finetune", "--resume", folder)
    assert code == 0, err
    assert (folder / "result.json").exists()


def test_a_second_signal_ends_a_run_at_once_with_its_own_code(
    covtool, arguments, folder, monkeypatch
):
    original = saving.capture

    def twice(parts, state):
        if state.updates:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return original(parts, state)

    with monkeypatch.context() as patched:
        patched.setattr(saving, "capture", twice)
        code, _, err = covtool(*arguments)
    assert code == 143, err
    state = torch.load(folder / LAST, weights_only=True)
    assert state["progress"]["updates"] == 0
    assert resume_finetune(folder).epochs == 2


def test_a_signal_that_is_ignored_stays_ignored(covtool, arguments, monkeypatch):
    """Ignore SIGHUP, as `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(saving, "capture", signalled(signal.SIGHUP, saving.capture))
        assert signals.is_hangup_ignored()
        code, _, err = covtool(*arguments)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == 0, err


def test_torchs_launcher_is_kept_from_what_is_ignored():
    from torch.distributed.launcher.api import LaunchConfig

    assert launching._signals_to_handle(LaunchConfig) == {}
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handled = launching._signals_to_handle(LaunchConfig)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "SIGHUP" not in handled.get("signals_to_handle", "")


def test_handlers_are_back_after_a_command():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    with pytest.raises(SystemExit):
        main.run(["--version"])
    assert {number: signal.getsignal(number) for number in NUMBERS} == before


@pytest.mark.parametrize(
    "until", ["epoch 2", pytest.param("images to train on", marks=pytest.mark.slow)]
)
def test_a_process_ends_in_order(data, tmp_path, until):
    """Around the first save, and while it trains."""
    settings = {"from_scratch": True, "img_size": 16, "batch_size": 6, "device": "cpu"}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({**settings, "workers": 2, "epochs": 5000}))
    process = ForkedCommand(
        *("finetune", "test_resnet", "--data", data, "--config", "c.yaml"), folder=tmp_path
    )
    deadline = time.monotonic() + PATIENCE_S
    while until not in process.printed():
        assert process.poll() is None, process.printed()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGHUP, process.printed()
    assert "nterrupted" in process.printed()
    assert "Traceback" not in process.printed()
    run = tmp_path / "runs/finetune/test_resnet"
    assert run.exists()
    assert not list(tmp_path.rglob(".*.tmp"))
    if until.startswith("epoch"):
        state = torch.load(run / LAST, weights_only=True)
        lines = (run / "metrics.jsonl").read_text().count("\n")
        assert state["progress"]["updates"] == lines > 0


def test_a_process_that_still_imports_its_libraries_ends_in_order(data, tmp_path):
    command = ("finetune", "test_resnet", "--from-scratch", "--data", data, "--device", "cpu")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr.readline() == "started\n"
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "nterrupted" in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*"))


# "started" is printed once SIGTERM has a handler: before, the system ends any process.
PROGRAM = """
import signal, sys, threading, time
from covtool_cli import main

def report():
    while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        time.sleep(0.001)
    print("started", file=sys.stderr, flush=True)

threading.Thread(target=report, daemon=True).start()
main.run()
"""
