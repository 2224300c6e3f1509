"""`covtool finetune` in several processes, as a user starts, interrupts and loses them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toy_data import write_toy_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc"),
]

NPROC = (sys.executable, "-m", "covtool_cli")
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "covtool_cli"),
)
TINY = ("--from-scratch", "--img-size", "32", "-b", "6", "-j", "0", "--device", "cpu")
PATIENCE = 300


@pytest.fixture
def start(tmp_path):
    """Start a run that goes on for long, and return when it has trained an epoch."""
    data = write_toy_data(tmp_path / "toy")
    started = []

    def run(*command):
        arguments = ("finetune", "test_resnet", "--data", data, *TINY, "--epochs", "500")
        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*map(str, (*command[0], *arguments, *command[1:]))],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=quickly(),
            )
        started.append(process)
        deadline = time.monotonic() + PATIENCE
        while "epoch 1/500" not in (tmp_path / "stderr").read_text():
            assert process.poll() is None, (tmp_path / "stderr").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return process

    yield run
    for process in started:
        process.kill()


def quickly():
    return {**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "30"}


def resume(tmp_path, *more):
    return subprocess.run(
        [*NPROC, "finetune", "--resume", "runs/finetune/test_resnet", *more],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=quickly(),
    )


def epochs_done(tmp_path):
    path = tmp_path / "runs/finetune/test_resnet/checkpoints/last.pt"
    return torch.load(path, weights_only=True)["progress"]["epoch"]


def process_of_rank(launcher, rank):
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_text().split("\0")
        except (OSError, IndexError, ValueError):
            continue
        if parent == launcher and f"RANK={rank}" in environment:
            return int(entry.name)
    raise AssertionError("no such process")


def test_a_killed_process_ends_the_run_which_goes_on_when_resumed(start, tmp_path):
    process = start(NPROC, "--nproc", "2")
    os.kill(process_of_rank(process.pid, 1), signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENCE)
    err = (tmp_path / "stderr").read_text()
    assert (process.returncode, out) == (1, "")
    assert err.count("error:") == 1
    assert "error: Rank 1 of 2 was ended by SIGKILL." in err
    more = ("--epochs", str(epochs_done(tmp_path) + 1), "--json")
    done = resume(tmp_path, *more)  # with as many processes as before
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == epochs_done(tmp_path)
    assert "processes and goes on with" not in done.stderr


def test_ctrl_c_saves_once_and_exits_130(start, tmp_path):
    process = start(NPROC, "--nproc", "2")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    err = (tmp_path / "stderr").read_text()
    assert process.returncode == 130
    assert err.count("error:") == 1
    step = int(re.search(r"Interrupted by SIGINT after step (\d+); the state was saved", err)[1])
    path = tmp_path / "runs/finetune/test_resnet/checkpoints/last.pt"
    assert torch.load(path, weights_only=True)["progress"]["updates"] == step
    done = resume(tmp_path, "--epochs", str(epochs_done(tmp_path) + 1), "--nproc", "1")
    assert done.returncode == 0, done.stderr
    assert "The run was saved by 2 processes and goes on with 1" in done.stderr


def test_torchrun_does_the_same(start, tmp_path):
    process = start(TORCHRUN)
    process.terminate()
    process.communicate(timeout=PATIENCE)
    err = (tmp_path / "stderr").read_text()
    assert err.count("error:") == 1
    assert "Interrupted by SIGTERM after step" in err
    assert epochs_done(tmp_path) >= 1
