"""Runs with losses on embeddings, and with batches made for them."""

import json
from pathlib import Path

import pytest
import yaml
from tolerances import EXACT
from torch.testing import assert_close
from toy_data import write_toy_data
from training_runs import Recorder, changed, make_request, press_ctrl_c, weights

from covtool.checkpoints.model_file import load
from covtool.errors import ArgumentError, InterruptedRunError, NonFiniteError
from covtool.training import finetune, plan_finetune, resume_finetune

LAST = "checkpoints/last.pt"
PK = {"sampler": "pk", "num_instances": 3}  # 2 classes with 3 images each


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def asked(data, tmp_path):
    return lambda **options: make_request(data, tmp_path / "runs", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "ce+0.5*triplet"},
        {"loss": "ce+0.01*circle", "circle_scale": 32},
        {"loss": "ce+triplet", "triplet_margin": 0.3},
        {"loss": "3*bce+triplet", "model_ema": True, "model_ema_decay": 0.5},
    ],
    ids=lambda options: options["loss"],
)
def test_classes_are_learned_with_a_sum_of_losses(asked, options):
    recorder = Recorder()
    result = finetune(asked(epochs=8, lr=5e-3, **PK, **options), observer=recorder)
    assert recorder.epochs[-1].train_loss < recorder.epochs[0].train_loss
    assert result.best > 70  # of three classes
    history = load(result.exported["last"]).recipe.provenance.history[-1]
    assert f"loss {options['loss']}, sampler pk" in history


def test_mixed_precision_does_not_reach_the_loss(asked):
    full, mixed = Recorder(), Recorder()
    finetune(asked(epochs=1, loss="triplet", **PK), observer=full)
    settings = {"amp": True, "amp_dtype": "bfloat16", **PK}
    finetune(asked(epochs=1, loss="triplet", **settings), observer=mixed)
    assert mixed.steps[0].loss == pytest.approx(full.steps[0].loss, rel=0.02)
    assert mixed.steps[0].loss != full.steps[0].loss


def test_a_loss_on_embeddings_changes_what_is_learned(asked):
    alone, together = Recorder(), Recorder()
    finetune(asked(epochs=1, **PK), observer=alone)
    finetune(asked(epochs=1, loss="ce+triplet", **PK), observer=together)
    assert together.steps[0].loss > alone.steps[0].loss
    one, two = (weights(r.plans[0].directory / LAST) for r in (alone, together))
    assert "layer4.0.conv1.weight" in changed(one, two)


def test_the_terms_of_a_sum_are_recorded_without_their_weights(asked):
    recorder = Recorder()
    settings = {"loss": "2*ce+0.5*triplet", "grad_accum_steps": 2, **PK}
    result = finetune(asked(epochs=1, **settings), observer=recorder)
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(recorder.steps) > 1
    for line, record in zip(map(json.loads, lines), recorder.steps, strict=True):
        assert line["losses"] == record.losses
        expected = 2 * record.losses["ce"] + 0.5 * record.losses["triplet"]
        assert record.loss == pytest.approx(expected)
    alone = Recorder()
    finetune(asked(epochs=1), observer=alone)
    assert all(record.losses == {} for record in alone.steps)


def test_a_loss_that_is_not_finite_names_the_layer_with_embeddings_as_well(asked):
    settings = {"lr": 1e30, "sched": "constant", "warmup_epochs": 0, **PK}
    with pytest.raises(NonFiniteError) as caught:
        finetune(asked(loss="ce+triplet", **settings))
    assert "first layer with a non-finite output is" in caught.value.reason


@pytest.mark.parametrize("loss", ["triplet", "0.1*circle"])
def test_without_a_loss_on_logits_the_classifier_stays_and_a_note_says_so(asked, loss):
    recorder = Recorder()
    result = finetune(
        asked(loss=loss, weight_decay=0.1, checkpoint_hist=2, **PK), observer=recorder
    )
    folder = result.directory / "checkpoints"
    first, last = (weights(folder / f"epoch-{number}.pt") for number in (1, 2))
    assert not {"fc.weight", "fc.bias"} & changed(first, last)
    assert "layer4.0.conv1.weight" in changed(first, last)
    assert any("the classifier stays as it is" in note for note in recorder.notes)
    names = {name for group in plan_finetune(asked(loss=loss, **PK)).groups for name in group.names}
    assert not {"fc.weight", "fc.bias"} & names
    exported = load(result.exported["last"])
    assert_close(exported.fc.weight.detach(), first["fc.weight"], **EXACT)


@pytest.mark.parametrize("freeze", [["backbone"], ["backbone@1"]])
def test_nothing_left_to_train_is_refused(asked, freeze):
    with pytest.raises(ArgumentError, match="leaves nothing that --loss triplet can train"):
        finetune(asked(loss="triplet", freeze=freeze, **PK))


def test_an_interrupted_run_with_embeddings_goes_on_to_the_same_weights(asked):
    settings = {"loss": "ce+triplet", "experiment": "run", **PK}
    whole = finetune(asked(**settings))
    recorder = Recorder(at_update=8, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(asked(**settings), observer=recorder)
    resumed = recorder.plans[0].directory
    resume_finetune(resumed)
    assert not changed(weights(whole.directory / LAST), weights(resumed / LAST))


@pytest.mark.parametrize("sampler", ["balanced", "pk"])
def test_every_sampler_trains_by_the_command(covtool, data, sampler):
    options = [
        "--from-scratch",
        "--img-size",
        32,
        "--epochs",
        1,
        "-b",
        8,
        "-j",
        0,
        "--device",
        "cpu",
    ]
    code, out, err = covtool(
        *("finetune", "test_resnet", "--data", data, *options, "--sampler", sampler, "--json")
    )
    assert code == 0, err
    arguments = Path(json.loads(out)["directory"]) / "args.yaml"
    assert yaml.safe_load(arguments.read_text())["sampler"] == sampler


def test_batches_of_more_classes_than_there_are_end_in_a_usage_error(covtool, data):
    code, _, err = covtool(
        *("finetune", "test_resnet", "--data", data, "--from-scratch", "--img-size", 32),
        *("--sampler", "pk", "-b", 16),
    )
    assert code == 2
    assert "--sampler pk takes 2 to 3." in " ".join(err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "ce+tripled"], "Did you mean 'triplet'"),
        (["--loss", "ce+triplet", "--mixup", "0.2"], "leave none of one class"),
        (["--sampler", "pk", "-b", "30"], "not a multiple of the 4"),
        (["--num-instances", "4"], "no effect with --sampler random"),
    ],
)
def test_mistakes_are_usage_errors(covtool, options, message):
    code, _, err = covtool("finetune", "test_resnet", "--data", "nowhere", *options)
    assert code == 2
    assert message in " ".join(err.split())
