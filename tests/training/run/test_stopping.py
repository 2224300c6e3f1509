"""Early stopping: a function of the metrics so far."""

import json
from pathlib import Path

import pytest
from toy_data import write_toy_data
from training_runs import Recorder, make_request

from covtool.checkpoints.model_file import load
from covtool.specs import TrainingSpec
from covtool.training import finetune, resume_finetune
from covtool.training.parts.phases import single_phase
from covtool.training.run.state import RunState
from covtool.training.run.stopping import is_finished, stops_early


def after(*values: float) -> RunState:
    return RunState(epoch=len(values), values=list(values))


@pytest.mark.parametrize(
    ("patience", "values", "stops"),
    [
        (0, [5, 4, 3, 2, 1, 0], False),
        (1, [], False),
        (1, [5], False),
        (1, [5, 6], False),
        (1, [5, 6, 6], True),  # as good is not better
        (2, [5, 6, 6], False),
        (2, [5, 6, 1, 2], True),
        (2, [5, 4, 6, 4], False),
        (3, [-0.5, -0.6, -0.7, -0.8], True),  # losses, negated
    ],
)
def test_a_run_stops_after_that_many_epochs_in_a_row_without_a_better_one(
    patience: int, values: list[float], stops: bool
) -> None:
    training = TrainingSpec(epochs=9, patience=patience)
    phases = single_phase(training)
    in_epoch = RunState(epoch=len(values), step=1, values=list(values))
    assert not stops_early(in_epoch, training, phases)
    assert stops_early(after(*values), training, phases) == stops
    assert is_finished(after(*values), training, phases) == stops


def test_the_last_epoch_is_no_early_end() -> None:
    training = TrainingSpec(epochs=3, patience=1)
    assert is_finished(after(5, 6, 6), training, single_phase(training))
    assert not stops_early(after(5, 6, 6), training, single_phase(training))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


# Next to no learning: the first epoch stays the best.
STALLED = {"epochs": 6, "lr": 1e-12, "warmup_lr": 0, "freeze": ["backbone"], "patience": 2}


def test_a_run_that_stops_early_is_a_finished_run(data: Path, tmp_path: Path) -> None:
    watcher, again = Recorder(), Recorder()
    result = finetune(make_request(data, tmp_path, **STALLED), observer=watcher)
    assert result.stopped_early
    assert result.epochs == len(watcher.epochs) == 3
    assert json.loads((result.directory / "result.json").read_text())["stopped_early"] is True
    assert load(result.exported["last"]).recipe.provenance.metrics[0].value == result.last
    ends = "2 epochs without a better top-1. Resume it with --patience 4 to train longer."
    assert watcher.notes_on_training[-1] == f"The run ends after epoch 3: {ends}"
    resumed = resume_finetune(result.directory, observer=again)
    assert again.notes_on_training[-1] == f"The run in {result.directory} is complete: {ends}"
    assert again.steps == []
    assert (resumed.epochs, resumed.stopped_early) == (3, True)


def test_with_more_patience_it_goes_on_as_if_it_had_not_stopped(data: Path, tmp_path: Path) -> None:
    short = finetune(make_request(data, tmp_path, **STALLED))
    long, rest = Recorder(), Recorder()
    whole = finetune(make_request(data, tmp_path, **{**STALLED, "patience": 4}), observer=long)
    result = resume_finetune(short.directory, changes={"patience": 4}, observer=rest)
    assert result.epochs == whole.epochs == 5
    assert [r.loss for r in rest.steps] == [r.loss for r in long.steps[6:]]


def test_a_run_that_improves_is_not_stopped(data: Path, tmp_path: Path) -> None:
    settings = {"epochs": 4, "patience": 1, "eval_metric": "loss", "lr": 0.01, "sched": "constant"}
    watcher = Recorder()
    result = finetune(
        make_request(data, tmp_path, freeze=["backbone"], **settings), observer=watcher
    )
    losses = [record.eval_loss for record in watcher.epochs]
    assert losses == sorted(losses, reverse=True)
    assert (result.epochs, result.stopped_early) == (4, False)
