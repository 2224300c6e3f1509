"""Faults in mid-run as a user sees them: exit code, message, files that are left."""

import multiprocessing
import os
import signal

import pytest
import torch
from images import truncate
from toy_data import write_toy_data

from covtool.training.start import prepare
from covtool_cli import progress

QUICK = ["--from-scratch", "--img-size", "32", "--epochs", "2", "-b", "6", "--device", "cpu"]
RUN = "runs/finetune/test_resnet"


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "toy")


@pytest.fixture
def at_update(monkeypatch):
    """Do something at an update."""

    def arrange(number, do):
        def on_step(self, record):
            if record.update == number:
                do()

        monkeypatch.setattr(progress.TrainingLines, "on_step", on_step)

    return arrange


def finetune(covtool, data, *more):
    return covtool("finetune", "test_resnet", "--data", data, *QUICK, *more)


def last_state(folder):
    return torch.load(folder / RUN / "checkpoints/last.pt", weights_only=True)


def test_a_killed_worker_exits_1_and_the_last_state_is_intact(covtool, data, tmp_path, at_update):
    others = set(multiprocessing.active_children())  # of other tests

    def kill():
        workers = set(multiprocessing.active_children()) - others
        victim = min(worker.pid for worker in workers)
        os.kill(victim, signal.SIGKILL)
        os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)  # the next batch notices it

    at_update(8, kill)
    code, _, err = finetune(covtool, data, "-j", "2", "--epochs", "3")
    assert code == 1
    assert "error: A process that loads images died (process " in err
    assert "--workers" in err
    assert f"The last good state is {RUN}/checkpoints/last.pt; go on with: covtool finetune" in err
    assert last_state(tmp_path)["progress"]["epoch"] == 1
    at_update(8, lambda: None)
    code, _, err = covtool("finetune", "--resume", RUN, "-j", "0")
    assert code == 0, err


def test_a_bad_image_midway_exits_4_after_saving(covtool, data, tmp_path, at_update):
    path = data / "train/red/3.png"
    at_update(6, lambda: truncate(path))
    code, _, err = finetune(covtool, data, "-j", "0")
    assert code == 4
    assert f"error: The image {path} cannot be read." in err
    assert "was saved; go on with: covtool finetune --resume" in err
    assert last_state(tmp_path)["progress"]["updates"] >= 6


def test_skipping_it_shows_a_note_and_a_count(covtool, data, at_update):
    path = data / "train/red/3.png"
    at_update(6, lambda: truncate(path))
    code, _, err = finetune(covtool, data, "-j", "0", "--on-bad-image", "skip")
    assert code == 0
    assert err.count(f"note: {path} cannot be read any more; another image takes its place.") == 1
    assert "%  1 unreadable  " in err


@pytest.fixture
def exhausting(monkeypatch):
    """Models that run out of memory above so many images."""
    original = prepare.assemble

    def check(module, inputs):
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def assemble(model, *rest):
        model.register_forward_pre_hook(check)
        return original(model, *rest)

    monkeypatch.setattr(prepare, "assemble", assemble)


def test_out_of_memory_exits_1_and_names_a_batch_size(covtool, data, tmp_path, exhausting):
    code, _, err = finetune(covtool, data, "-j", "0")
    assert code == 1
    assert "error: 6 images at a time (--batch-size 6) do not fit into memory." in err
    assert "Add --auto-batch, or train with --batch-size 3 --grad-accum-steps 2" in err
    assert last_state(tmp_path)["progress"]["updates"] == 0
    code, _, err = covtool("finetune", "--resume", RUN, "--auto-batch")
    assert code == 0, err
    assert "batches go through the model in parts of 2" in err
    assert last_state(tmp_path)["progress"]["micro_batch"] == 2
