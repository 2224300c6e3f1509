"""A run is killed at random times and resumed; in the end every byte is as if nothing had been."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from forked_command import ForkedCommand
from svdnet_training import PHASES, write_data, write_eigen_model
from toy_data import write_toy_data
from training_runs import content

from covtool.conversion import ConversionRequest, convert
from covtool.specs import FinetuneRequest, HeadSpec, ModelSource
from covtool.training import finetune, resume_finetune

# Everything that holds state or draws at random, at once.
SETTINGS = {
    "device": "cpu",
    "epochs": 4,
    "batch_size": 4,
    "workers": 2,
    "grad_accum_steps": 2,
    "save_every_steps": 3,
    "gc": True,
    "opt": "adamw",
    "gc_on": "update",
    "mixup": 0.4,
    "cutmix": 0.4,
    "aa": "rand-m5-mstd0.5",
    "reprob": 0.3,
    "model_ema": True,
    "clip_grad": 1.0,
    "bn_stats": "train",
}
PATIENCE_S = 120  # for a process that should get somewhere


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    data = write_toy_data(tmp_path_factory.mktemp("toy"), train=16)
    folder = tmp_path_factory.mktemp("runs")
    model = folder / "dropcov.safetensors"  # a head with dropout of channels
    convert(
        ConversionRequest(
            source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
            operations=[HeadSpec(head="dropcov", dim=8)],
            output=model,
        )
    )
    return {**SETTINGS, "model": str(model), "data": str(data), "output": str(folder)}


@pytest.fixture(scope="module")
def phased(tmp_path_factory):
    """The same for a run in SVDNet's phases."""
    folder = tmp_path_factory.mktemp("svdnet")
    of_finetune = {name: value for name, value in SETTINGS.items() if name != "epochs"}
    return {
        **of_finetune,
        **PHASES,
        "classifier": "reset",
        "model": str(write_eigen_model(folder)),
        "data": str(write_data(folder / "data")),
        "output": str(folder),
    }


def kill_after(process, watched, lines, delay):
    """SIGKILL to the whole group, some time after a log has got so many lines; whether it hit."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and _lines(watched) < lines:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)
    time.sleep(delay)
    hit = process.poll() is None
    if hit:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(PATIENCE_S) in (0, -signal.SIGKILL), process.printed()
    return hit


def _lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def survives(settings, tmp_path, kills, seed):
    draw = random.Random(seed)
    request = FinetuneRequest.from_arguments({**settings, "experiment": f"whole{seed}"})
    expected = finetune(request)
    (tmp_path / "settings.yaml").write_text(
        yaml.safe_dump({**settings, "experiment": f"killed{seed}"})
    )
    directory = expected.directory.with_name(f"killed{seed}")
    log = directory / "metrics.jsonl"
    updates = _lines(expected.directory / "metrics.jsonl")
    hits = 0
    for number in range(kills):
        arguments = ["--resume", str(directory)] if number else ["--config", "settings.yaml"]
        process = ForkedCommand(request.command, *arguments, folder=tmp_path)
        done = updates * number // kills
        until = done + draw.randint(1, max(1, updates // kills))
        hits += kill_after(process, log, until, draw.uniform(0, 0.2))
    assert hits, "no kill came before the end"
    resume_finetune(directory)
    assert content(directory) == content(expected.directory)


def test_a_run_that_is_killed_twice_ends_with_the_very_same_bytes(settings, tmp_path):
    survives(settings, tmp_path, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", (1, 2))
def test_a_run_that_is_killed_again_and_again_ends_with_the_very_same_bytes(
    settings, tmp_path, seed
):
    longer = {**settings, "epochs": 10}
    survives(longer, tmp_path, kills=5, seed=seed)


def test_so_does_a_run_in_phases(phased, tmp_path):
    survives(phased, tmp_path, kills=2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", (1, 2))
def test_so_does_a_longer_run_in_phases(phased, tmp_path, seed):
    survives({**phased, "rri": 4}, tmp_path, kills=5, seed=seed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_ends_the_run_in_order(settings, tmp_path, number, code):
    """As Ctrl-C in a terminal and schedulers of clusters send it: to the loaders' processes too."""
    arguments = {**settings, "experiment": number.name, "save_every_steps": 0, "epochs": 50}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(arguments))
    log = Path(settings["output"]) / "finetune" / number.name / "metrics.jsonl"
    process = ForkedCommand("finetune", "--config", "settings.yaml", folder=tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while _lines(log) < 3 and process.poll() is None:
        assert time.monotonic() < deadline, "the run does not get on"
        time.sleep(0.005)
    os.killpg(process.pid, number)
    assert process.wait(PATIENCE_S) == code, process.printed()
    err = process.printed()
    assert f"Interrupted by {number.name}" in err
    assert "Traceback" not in err
    state = torch.load(log.parent / "checkpoints/last.pt", weights_only=True)
    assert state["progress"]["updates"] == _lines(log)
