"""Several processes train the phases that one process would train."""

from functools import partial

import pytest
import torch
from process_group import run_together
from svdnet_training import GENTLE, svdnet_request, write_data, write_eigen_model
from test_distributed import WEIGHTS, train
from training_runs import Recorder, press_ctrl_c, rows

from covtool.errors import InterruptedRunError
from covtool.training import finetune, resume_finetune

KEPT = {"bn_stats": "keep", "smoothing": 0}


@pytest.fixture
def asked(tmp_path):
    data = write_data(tmp_path / "people")
    model = write_eigen_model(tmp_path)
    return partial(svdnet_request, model, data, tmp_path / "runs", **GENTLE, **KEPT)


def interrupt(rank, request, update):
    watcher = Recorder(at_update=update, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(request, observer=watcher)
    return watcher.plans[0].directory if rank == 0 else None


def test_losses_figures_and_weights_are_those_of_one_process(asked):
    (first,), (second,) = run_together(train, [asked(batch_size=3, experiment="two")])
    (one,) = train(0, [asked(batch_size=6, experiment="one")])
    for expected, got in zip(one["steps"], first["steps"], strict=True):
        assert (got.step, got.lr) == (expected.step, expected.lr)
        assert got.loss == pytest.approx(expected.loss, rel=1e-5)
    for expected, got in zip(one["epochs"], first["epochs"], strict=True):
        assert got.phase.name == expected.phase.name
        assert got.phase.correlation == pytest.approx(expected.phase.correlation, rel=1e-4)
        assert got.figures.keys() == expected.figures.keys()
    assert first["epochs"][0].figures == one["epochs"][0].figures  # of the same weights
    for name, tensor in one["model"].items():
        torch.testing.assert_close(first["model"][name], tensor, **{**WEIGHTS, "atol": 1e-4})
        assert torch.equal(first["model"][name], second["model"][name])


def test_phases_begin_with_epochs_whatever_the_number_of_processes(asked):
    """Interrupted in the first restraint by two processes, and gone on with by one."""
    directory, _ = run_together(interrupt, asked(batch_size=3), 2 * 4 + 2)
    watcher = Recorder()
    resume_finetune(directory, observer=watcher)
    table = rows(directory)
    assert [row["phase"] for row in table if row["eval_mAP"]] == [
        *("start", "base", "restraint 1", "relaxation 1", "restraint 2", "relaxation 2")
    ]
    by_epoch = {step.epoch: step.lr for step in reversed(watcher.steps)}
    assert {epoch: by_epoch[epoch] for epoch in (4, 6, 7)} == {
        epoch: pytest.approx(0.01) for epoch in (4, 6, 7)
    }
    for row in table:
        if row["phase"].startswith("restraint"):
            assert float(row["correlation"]) == pytest.approx(1, abs=1e-6)
