"""A classifier that is solved anew before each evaluation, beside the one that is trained."""

import csv
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch.testing import assert_close
from toy_data import write_toy_data
from training_runs import Recorder, make_request, press_ctrl_c

import covtool
from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import evaluation_loader
from covtool.errors import ArgumentError, InterruptedRunError
from covtool.evaluation.evaluate import EvaluationRequest, evaluate
from covtool.specs import FinetuneRequest, HeadSpec, ModelSource, TrainingSpec
from covtool.surgery import refit_classifier_
from covtool.training import finetune, resume_finetune
from covtool.training.parts.head import find_head
from covtool.training.parts.solved_head import share_all_but_classifier
from covtool.training.start.model_defaults import with_head


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=8, val=4)


def converted(folder: Path, data: Path, *, calibrated: bool) -> Path:
    images = {"calibrate_with": data} if calibrated else {}
    source = ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)})
    request = ConversionRequest(
        source=source,
        operations=(HeadSpec(dim=6),),
        output=folder / "model.safetensors",
        workers=0,
        **images,
    )
    return convert(request).path


@pytest.fixture(scope="module")
def calibrated(data, tmp_path_factory):
    return converted(tmp_path_factory.mktemp("calibrated"), data, calibrated=True)


def asked(model, data, runs, **settings):
    # A rate that changes the features in two epochs of four updates.
    given = {"model": str(model), "from_scratch": False, "lr": 0.005, "head_lr_mult": 1.0}
    return make_request(data, runs, **{**given, **settings})


@pytest.fixture(scope="module")
def run(calibrated, data, tmp_path_factory):
    recorder = Recorder()
    result = finetune(asked(calibrated, data, tmp_path_factory.mktemp("runs")), observer=recorder)
    return result, recorder


@pytest.mark.parametrize(
    ("solved", "given", "expected"),
    [
        (True, {}, (1e-2, 1.0)),
        (False, {}, (5e-4, 5.0)),
        (True, {"lr": 1e-3}, (1e-3, 1.0)),
        (True, {"head_lr_mult": 3.0}, (1e-2, 3.0)),
        (True, {"resolve_head": "off"}, (5e-4, 5.0)),
        (False, {"resolve_head": "on"}, (1e-2, 1.0)),
    ],
)
def test_rates_that_are_left_open_depend_on_who_makes_the_classifier(
    calibrated, data, tmp_path, solved, given, expected
):
    recipe = load(calibrated).recipe
    if not solved:
        fresh = recipe.provenance.model_copy(update={"steps": ()})
        recipe = recipe.model_copy(update={"provenance": fresh})
    request = FinetuneRequest(model=str(calibrated), data=str(data), training=TrainingSpec(**given))
    training = with_head(request, recipe).training
    assert (training.lr, training.head_lr_mult) == expected
    assert (training.peak_lr, training.head_multiplier) == expected


def test_a_rate_that_is_left_open_is_checked_once_it_is_known(calibrated, data, tmp_path):
    for settings in ({"min_lr": 0.02}, {"warmup_lr": 0.02}):
        request = FinetuneRequest(
            model=str(calibrated),
            data=str(data),
            output=str(tmp_path),
            training=TrainingSpec(device="cpu", workers=0, **settings),
        )
        with pytest.raises(ArgumentError, match=r"--lr 0\.01 is below"):
            finetune(request)
    assert not any(tmp_path.iterdir())


def classifier_of(model: nn.Module) -> nn.Linear:
    return model.get_submodule(find_head(model, model.recipe.input).classifier)


def state_of(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]


def by_the_normal_equations(features, labels, classes, penalty):
    """The ridge regression with an intercept, as a textbook has it, in float64."""
    x, y = features.double(), nn.functional.one_hot(labels, classes).double()
    centered = x - x.mean(dim=0)
    system = centered.T @ centered + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(system, centered.T @ (y - y.mean(dim=0))).T
    return weight, y.mean(dim=0) - weight @ x.mean(dim=0)


def test_a_calibrated_head_is_solved_anew_and_that_is_said(run):
    result, recorder = run
    assert yaml.safe_load((result.directory / "args.yaml").read_text())["resolve_head"] == "on"
    assert any("--resolve-head off" in note for note in recorder.notes)
    step = load(result.exported["last"]).recipe.provenance.steps[-1]
    assert step.resolved_head
    assert "classifier solved anew" in load(result.exported["last"]).recipe.provenance.history[-1]


@pytest.mark.parametrize(
    "settings", [{"new_classifier": True}, {"resolve_head": "off"}], ids=["new", "off"]
)
def test_other_classifiers_are_trained(settings, calibrated, data, tmp_path):
    result = finetune(asked(calibrated, data, tmp_path, epochs=1, **settings))
    assert yaml.safe_load((result.directory / "args.yaml").read_text())["resolve_head"] == "off"
    model, trained = load(result.exported["last"]), state_of(result.directory)
    name = find_head(model, model.recipe.input).classifier
    assert torch.equal(classifier_of(model).weight, trained[f"{name}.weight"])


def test_a_head_that_is_not_calibrated_is_trained(data, tmp_path):
    model = converted(tmp_path, data, calibrated=False)
    result = finetune(asked(model, data, tmp_path, epochs=1))
    assert yaml.safe_load((result.directory / "args.yaml").read_text())["resolve_head"] == "off"


def test_the_exported_classifier_is_a_ridge_regression_on_the_trained_features(run, data):
    model = load(run[0].exported["last"])
    trained = state_of(run[0].directory)
    layer, name = classifier_of(model), find_head(model, model.recipe.input).classifier
    # All else is what training left, and the classifier is not.
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, trained[key]) != key.startswith(f"{name}."), key
    loader = evaluation_loader(scan(data).samples("train"), model.recipe.input, workers=0)
    seen = []
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    labels = []
    with torch.no_grad():
        for images, targets in loader:
            model(images)
            labels.append(targets)
    features, labels = torch.cat(seen), torch.cat(labels)
    solved = refit_classifier_(model, name, loader, num_images=len(labels))
    weight, bias = by_the_normal_equations(features, labels, layer.out_features, solved.penalty)
    exported = classifier_of(load(run[0].exported["last"]))
    scale = solved.temperature
    assert_close(exported.weight.double(), scale * weight, rtol=1e-3, atol=1e-4 * scale)
    assert_close(exported.bias.double(), scale * bias, rtol=1e-3, atol=1e-4 * scale)


def test_the_figures_of_a_run_are_those_of_its_files(run, data):
    with (run[0].directory / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = evaluate(
        EvaluationRequest(source=str(run[0].exported["last"]), data=data, workers=0)
    )
    assert float(rows[-1]["eval_loss"]) == pytest.approx(measured.result.loss, rel=1e-5)


def test_tensors_are_shared_but_for_the_classifier(calibrated):
    model = load(calibrated)
    name = find_head(model, model.recipe.input).classifier
    judged = share_all_but_classifier(model, name)
    for key, parameter in model.named_parameters():
        shared = judged.get_parameter(key) is parameter
        assert shared != key.startswith(f"{name}."), key
    for key, buffer in model.named_buffers():
        assert judged.get_buffer(key) is buffer
    assert not judged.training


def test_a_classifier_without_bias_is_refused(calibrated):
    model = load(calibrated)
    name = find_head(model, model.recipe.input).classifier
    model.set_submodule(name, nn.Linear(21, 3, bias=False))
    with pytest.raises(ArgumentError, match="bias"):
        share_all_but_classifier(model, name)


@pytest.mark.parametrize("averaged", [False, True], ids=["plain", "ema"])
def test_an_interrupted_run_ends_as_one_that_was_not(averaged, calibrated, data, tmp_path):
    settings = {"model_ema": averaged, "model_ema_decay": 0.9} if averaged else {}
    whole = finetune(asked(calibrated, data, tmp_path / "whole", **settings))
    stopped = Recorder(at_update=6, do=press_ctrl_c)
    with pytest.raises(InterruptedRunError):
        finetune(asked(calibrated, data, tmp_path / "cut", **settings), observer=stopped)
    (folder,) = (tmp_path / "cut/finetune").iterdir()
    # Nothing was solved for these weights: the file has the classifier that was trained.
    partial = load(folder / "exported/last.safetensors")
    assert not partial.recipe.provenance.steps[-1].resolved_head
    resumed = resume_finetune(folder)
    for name in ("best", "last"):
        one, other = (load(r.exported[name]).state_dict() for r in (whole, resumed))
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


@pytest.mark.parametrize("kept", [False, True], ids=["solved", "neighbors kept"])
def test_cached_training_images_are_solved_with_as_they_are_evaluated(
    kept, calibrated, data, tmp_path
):
    settings = {"epochs": 1, "cache": "ram", "keep_neighbors": kept}
    result = finetune(asked(calibrated, data, tmp_path, **settings))
    model, samples = load(result.exported["last"]), scan(data).samples("train")
    name = find_head(model, model.recipe.input).classifier
    before = classifier_of(model).weight.detach().clone()
    loader = evaluation_loader(samples, model.recipe.input, workers=0)
    refit_classifier_(model, name, loader, num_images=len(samples))
    assert_close(classifier_of(model).weight, before, rtol=1e-4, atol=1e-5)


def test_a_last_model_that_is_missing_is_solved_before_it_is_written(
    run, data, calibrated, tmp_path
):
    result = finetune(asked(calibrated, data, tmp_path))
    before = classifier_of(load(result.exported["last"])).weight
    for name in ("best", "last"):
        result.exported[name].unlink()
    again = resume_finetune(result.directory)
    assert torch.equal(classifier_of(load(again.exported["last"])).weight, before)
    assert load(again.exported["best"]).recipe.provenance.steps[-1].resolved_head


def test_a_state_says_that_its_classifier_is_another(run):
    state = run[0].directory / "checkpoints/last.pt"
    notes = covtool.open_model(str(state)).notes
    assert any("solved anew" in note for note in notes)


def test_what_cannot_be_solved_for_is_refused(calibrated, data, tmp_path):
    request = asked(calibrated, data, tmp_path, resolve_head="on", loss="triplet")
    with pytest.raises(ArgumentError, match="--resolve-head on"):
        request.validate_fields()
