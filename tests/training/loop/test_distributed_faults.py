"""What goes wrong in one of several processes is known to all, and the run can go on."""

import os
import signal
import time
from functools import partial

import pytest
import torch
from process_group import run_together
from toy_data import write_toy_data
from training_runs import Recorder, make_request, rows

from covtool.errors import (
    ArgumentError,
    DataError,
    DeadlockError,
    InterruptedRunError,
    LostProcessError,
    NonFiniteError,
    OutOfMemoryError,
)
from covtool.processes import current
from covtool.training import finetune, resume_finetune
from covtool.training.loop import fit
from covtool.training.parts.replica import DistributedReplica
from covtool.training.step.nonfinite_dump import read_dump

CULPRIT = 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=11)


@pytest.fixture
def asked(data, tmp_path):
    return partial(make_request, data, tmp_path / "runs")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "runs/finetune/test_resnet"


def train(rank, request, mischief=None, at=2):
    """A run in which the culprit does something before the update after so many."""
    original, observer = fit.guarded_update_, Recorder()

    def careful(run, batches):
        if mischief and rank == CULPRIT and run.state.updates == at:
            batches = mischief(run, batches) or batches
        return original(run, batches)

    fit.guarded_update_ = careful  # of this process, which ends with the run
    result = finetune(request, observer=observer)
    return result, observer.steps, observer.notes


def resume(rank, directory, changes=None):
    observer = Recorder()
    result = resume_finetune(directory, changes=changes, observer=observer)
    return result, observer.steps, observer.notes


def last_state(directory):
    return torch.load(directory / "checkpoints/last.pt", weights_only=True)


def everything(directory):
    """A run's last state and summary as what can be compared: no times."""
    state = last_state(directory)
    state["progress"].pop("seconds")
    return state, rows(directory)


def assert_identical(first, second):
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert set(first) == set(second)
        for key in first:
            assert_identical(first[key], second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_identical(one, other)
    else:
        assert first == second


def be_told_to_end(run, batches):
    signal.raise_signal(signal.SIGTERM)


VARIED = {
    "batch_size": 4,
    "bn_stats": "train",
    "mixup": 0.2,
    "model_ema": True,
    "gc": True,
    "freeze_epochs": 1,
}


def test_a_signal_to_one_process_ends_all_in_one_state_from_which_they_end_byte_identically(asked):
    whole = run_together(train, asked(experiment="whole", **VARIED), world=3)[0][0]
    ends = run_together(train, asked(experiment="cut", **VARIED), be_told_to_end, world=3)
    for end in ends:
        assert isinstance(end, InterruptedRunError)
        assert end.signal_number == signal.SIGTERM
        assert "after step 3" in end.message
    cut = whole.directory.with_name("cut")
    resumed, *_ = run_together(resume, cut, world=3)
    assert [step.update for step in resumed[1]] == [4]
    states = last_state(cut)["generators"]
    assert len({str(s["torch"].tolist()) for s in states}) == 3  # each draws numbers of its own
    assert_identical(everything(whole.directory), everything(cut))


def test_another_number_of_processes_goes_on_at_the_same_place_and_says_what_changes(asked):
    cut = asked(epochs=3, save_every_steps=1, warmup_epochs=0)
    result, steps, _ = run_together(train, cut)[0]
    for end in run_together(train, asked(epochs=3, experiment="cut"), be_told_to_end):
        assert isinstance(end, InterruptedRunError)
    directory = result.directory.with_name("cut")
    observer = Recorder()
    alone = resume_finetune(directory, observer=observer)
    assert alone.epochs == 3
    said = "The run was saved by 2 processes and goes on with 1: an update has 6 images in place of"
    assert any(said in note for note in observer.notes)
    # One of the second epoch's two updates of 12 images was done: two of its five of 6 images.
    places = [(step.epoch, step.step, step.update) for step in observer.steps]
    assert places[0] == (2, 3, 4)
    assert places[-1] == (3, 5, 4 + len(places) - 1)
    rates = [step.lr for step in observer.steps]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(steps[3].lr, rel=0.15)
    again = run_together(resume, directory, {"epochs": 4})[0]
    assert any("by 1 process and goes on with 2" in note for note in again[2])
    assert again[0].epochs == 4


def poison(run, batches):
    return [(images * torch.inf, labels) for images, labels in batches]


def test_images_of_one_process_that_are_not_finite_stop_all_and_are_kept(asked, directory):
    for problem in run_together(train, asked(), poison):
        assert isinstance(problem, NonFiniteError)
        assert "at step 3" in problem.message
        assert "images themselves hold values that are not finite" in problem.reason
        assert f"covtool doctor --replay {directory / 'nonfinite.pt'}" in problem.hint
    dump = read_dump(directory / "nonfinite.pt")
    assert not torch.isfinite(dump.batches[-1].images).all()


@pytest.mark.parametrize("accumulated", [1, 2])
def test_an_update_that_is_not_finite_in_one_process_is_skipped_in_all(
    asked, directory, accumulated
):
    size = {"batch_size": 6 // accumulated, "grad_accum_steps": accumulated, "epochs": 3}
    request = asked(on_nonfinite="skip", **size)
    (result, steps, notes), (_, heard, _) = run_together(train, request, poison)
    assert [step.update for step in steps][:4] == [1, 2, 4, 5]
    assert heard == []
    assert any("the update is skipped (1 of at most 10)" in note for note in notes)
    assert all(t.isfinite().all() for t in last_state(directory)["model"].values())
    assert result.epochs == 3


def see_images_vanish(run, batches):
    def vanished(path, *how, **options):
        raise DataError(f"{path} is gone.", reason="gone")

    from covtool.data.rendering import from_files

    from_files.read_picture = vanished


def test_an_image_that_one_process_cannot_read_ends_all_after_saving(asked, directory):
    for problem in run_together(train, asked(), see_images_vanish, 1):
        assert isinstance(problem, DataError)
        assert "is gone" in problem.message
        assert "The state after step 2 was saved; go on with" in problem.hint
    assert run_together(resume, directory)[0][0].epochs == 2


def see_an_image_vanish(run, batches):
    """The one that this process needs next."""
    from covtool.data.rendering import from_files

    read, gone = from_files.read_picture, []

    def vanished(path, *how, **options):
        gone[1:] = []
        gone.append(path)
        if path == gone[0]:
            raise DataError(f"{path} is gone.", reason="It is gone.")
        return read(path, *how, **options)

    from_files.read_picture = vanished


def test_an_image_that_one_process_replaces_is_told_of_by_the_first(asked):
    request = asked(on_bad_image="skip", save_every_steps=1)
    (_, _, notes), (_, _, of_culprit) = run_together(train, request, see_an_image_vanish, 0)
    (note,) = (note for note in notes if "cannot be read any more" in note)
    assert note.endswith(".png cannot be read any more; another image takes its place. It is gone.")
    assert of_culprit == []


def have_little_memory(run, batches):
    forward = DistributedReplica.__call__

    def call(replica, images):
        if len(images) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(replica, images)

    DistributedReplica.__call__ = call


def test_where_one_process_runs_out_of_memory_all_halve_their_batches(asked):
    request = partial(asked, model="test_convnext", warmup_epochs=0, lr=0.01)
    (_, usual, _), _ = run_together(train, request())
    (_, steps, notes), _ = run_together(train, request(auto_batch=True), have_little_memory)
    assert any("from step 3 on, batches go through the model in parts of 3" in n for n in notes)
    for expected, got in zip(usual, steps, strict=True):
        assert got.loss == pytest.approx(expected.loss, rel=1e-5)


def run_out_on_the_way_back(run, batches):
    def exhausted(gradient):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    next(p for p in run.parts.model.parameters() if p.requires_grad).register_hook(exhausted)


def test_memory_that_ends_while_gradients_are_exchanged_ends_the_run(asked):
    other, culprit = run_together(train, asked(auto_batch=True), run_out_on_the_way_back)
    assert isinstance(culprit, OutOfMemoryError)
    assert "6 images at a time (--batch-size 6) do not fit" in culprit.message
    assert isinstance(other, LostProcessError)


def be_killed(run, batches):
    os.kill(os.getpid(), signal.SIGKILL)


def test_where_one_process_is_killed_the_others_end_and_the_run_goes_on(asked, directory):
    survivor, killed = run_together(train, asked(save_every_steps=1), be_killed)
    assert killed is None
    assert isinstance(survivor, LostProcessError)
    assert last_state(directory)["progress"]["updates"] == 2
    (result, steps, _), _ = run_together(resume, directory)
    assert result.epochs == 2
    assert [step.update for step in steps] == [3, 4]


ASLEEP_S = 5  # longer than the others wait, and no longer


def fall_asleep(run, batches):
    time.sleep(ASLEEP_S)


def fall_asleep_on_the_way_back(run, batches):
    parameter = next(p for p in run.parts.model.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: time.sleep(ASLEEP_S))


@pytest.mark.parametrize("how", [fall_asleep, fall_asleep_on_the_way_back])
def test_a_process_that_does_not_answer_is_named_with_its_update(asked, how):
    waiting, _ = run_together(train, asked(dist_timeout=3), how)
    assert isinstance(waiting, DeadlockError)
    assert waiting.message == "Rank 1 of 2 did not answer for 3 s."
    assert "rank 1 at update 3" in waiting.reason


def test_more_processes_than_images_are_refused(tmp_path):
    tiny = write_toy_data(tmp_path / "tiny", train=1)
    request = make_request(tiny, tmp_path / "runs", epochs=1)
    for problem in run_together(train, request, world=4):
        assert isinstance(problem, ArgumentError)
        assert "3 training images are too few for 4 processes" in problem.message
    assert current().world == 1
