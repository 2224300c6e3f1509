import shutil

import pytest
import torch
from training_runs import Recorder, assert_same_weights, weights

from covtool.checkpoints.model_file import load
from covtool.errors import ArgumentError, CheckpointError
from covtool.training import finetune

STILL = {"lr": 1e-12, "warmup_lr": 0.0, "epochs": 1, "freeze": ("backbone",)}


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    from training_runs import make_request

    settings = {"model_ema": True, "model_ema_decay": 0.5, "gc": True}
    return finetune(make_request(data, tmp_path_factory.mktemp("first"), **settings))


@pytest.mark.parametrize("model", ["test_resnet", None])
def test_a_run_gives_its_best_weights_and_nothing_else(asked, first, model):
    observer = Recorder()
    asking = asked(model=model, init_from=str(first.directory), from_scratch=False, **STILL)
    result = finetune(asking, observer=observer)
    assert observer.epochs[0].top_1 == pytest.approx(first.best)
    assert observer.steps[0].update == 1
    assert_same_weights(
        {n: t for n, t in load(result.exported["last"]).state_dict().items() if "fc" not in n},
        load(first.exported["best"]).state_dict(),
    )
    assert not any("afresh" in note for note in observer.notes)
    assert any("best.pt" in note for note in observer.notes)
    assert (
        "finetune from the weights of best.pt"
        in load(result.exported["last"]).recipe.provenance.history
    )


def test_the_raw_weights_can_be_chosen(asked, first):
    last = first.directory / "checkpoints/last.pt"
    asking = asked(init_from=str(last), weights="raw", from_scratch=False, **STILL)
    result = finetune(asking)
    trained = weights(result.directory / "checkpoints/last.pt")
    assert torch.equal(trained["conv1.0.weight"], weights(last)["conv1.0.weight"])
    average = torch.load(last, weights_only=True)["model_ema"]["conv1.0.weight"]
    assert not torch.equal(trained["conv1.0.weight"], average)


def test_a_state_that_was_moved_says_itself_of_what_model_it_is(asked, first, tmp_path):
    moved = shutil.copy(first.directory / "checkpoints/best.pt", tmp_path / "moved.pt")
    observer = Recorder()
    finetune(
        asked(model=None, init_from=str(moved), from_scratch=False, **STILL), observer=observer
    )
    assert observer.epochs[0].top_1 == pytest.approx(first.best)


def test_an_exported_file_will_do(asked, first):
    observer = Recorder()
    asking = asked(init_from=str(first.exported["best"]), from_scratch=False, **STILL)
    finetune(asking, observer=observer)
    assert observer.epochs[0].top_1 == pytest.approx(first.best)


def test_weights_of_another_model_are_refused_with_what_differs(asked, first):
    asking = asked(model="test_convnext", init_from=str(first.directory), from_scratch=False)
    with pytest.raises(CheckpointError, match="do not fit the model") as caught:
        finetune(asking)
    assert "missing: " in caught.value.hint
    assert "unexpected: " in caught.value.hint


def test_a_folder_that_is_no_run_is_refused(asked, tmp_path):
    with pytest.raises(ArgumentError, match="is not the folder of a run"):
        finetune(asked(init_from=str(tmp_path)))


def test_a_file_without_a_run_needs_a_model(asked, first):
    with pytest.raises(ArgumentError, match="does not say what its weights belong to"):
        finetune(asked(model=None, init_from=str(first.exported["best"])))
