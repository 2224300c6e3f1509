"""What a new run does because of what was trained before: step 0 of SVDNet, and `bn_stats`."""

import pytest
import torch
import yaml
from svdnet_training import svdnet_request
from training_runs import Recorder, make_request

from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.processes import ALONE
from covtool.specs import (
    ConvolutionSpec,
    FinetuneRequest,
    InputOverrides,
    ModelSource,
    TrainingSpec,
)
from covtool.training import finetune, plan_finetune, resume_finetune
from covtool.training.start.model_defaults import with_statistics
from covtool.training.start.prepare import open_source

SHORT = {"base_epochs": 1, "rri": 0, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def operators(tmp_path_factory):
    """A network with operators that nothing was done about."""
    request = ConversionRequest(
        source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
        operations=(ConvolutionSpec(conv="tanh"),),
        output=tmp_path_factory.mktemp("operators") / "model.safetensors",
    )
    return convert(request).path


def first_phase(model, people, folder, **settings):
    settings = {"base_epochs": None, **settings}
    return plan_finetune(svdnet_request(model, people, folder, **settings)).plan.phases[0].label


def statistics(model, **settings):
    request = FinetuneRequest(
        model=str(model), data="", images=InputOverrides(img_size=32), **settings
    )
    return with_statistics(
        request, open_source(request, Recorder(), ALONE).recipe
    ).training.bn_stats


def test_step_0_follows_weights_that_were_not_trained(eigen_model, people, tmp_path):
    source = str(eigen_model)
    assert first_phase(source, people, tmp_path, init_from=source) == "base"
    foreign = tmp_path / "weights.pth"
    torch.save(load(eigen_model).state_dict(), foreign)
    assert first_phase(source, people, tmp_path, init_from=str(foreign)) == "base"


def test_step_0_is_left_out_after_weights_that_were_trained(eigen_model, people, tmp_path):
    run = finetune(svdnet_request(eigen_model, people, tmp_path, **SHORT))
    for trained in (run.directory, run.exported["last"]):
        label = first_phase(eigen_model, people, tmp_path, init_from=str(trained))
        assert label == "restraint 1"
    foreign = tmp_path / "weights.pth"
    torch.save(load(run.exported["last"]).state_dict(), foreign)
    label = first_phase(run.exported["last"], people, tmp_path, init_from=str(foreign))
    assert label == "base"  # nothing says that these weights were trained


def test_statistics_are_trained_after_weights_that_were_not_trained(operators, data, tmp_path):
    assert statistics(operators) == "train"
    assert statistics(operators, init_from=str(operators)) == "train"
    foreign = tmp_path / "weights.pth"
    torch.save(load(operators).state_dict(), foreign)
    assert statistics(operators, init_from=str(foreign)) == "train"


def test_statistics_are_kept_after_weights_that_were_trained(operators, data, tmp_path):
    request = FinetuneRequest(
        model=str(operators),
        data=str(data),
        training=TrainingSpec(epochs=1, batch_size=12, workers=0, lr=0.01),
        images=InputOverrides(img_size=32),
        new_classifier=True,
        output=str(tmp_path / "runs"),
    )
    run = finetune(request)
    assert statistics(run.exported["last"]) == "keep"
    for trained in (run.directory, run.exported["last"]):
        assert statistics(operators, init_from=str(trained)) == "keep"


def test_a_run_that_an_older_version_saved_goes_on_with_the_same_history(data, tmp_path):
    """Its recipe.yaml and its states hold recipes of version 1."""
    history = ["convert a.pth: head gap", "finetune on birds: epoch 2 of 2, sgd, lr 0.1"]
    run = finetune(make_request(data, tmp_path, epochs=1)).directory

    def as_version_1(recipe):
        steps = recipe["provenance"].pop("steps", [])  # links to one file: done before
        assert not list(steps)
        recipe["provenance"]["history"] = history
        return recipe | {"version": 1}

    file = run / "recipe.yaml"
    file.write_text(yaml.safe_dump(as_version_1(yaml.safe_load(file.read_text()))))
    for state in (run / "checkpoints").glob("*.pt"):
        content = torch.load(state, weights_only=True)
        content["recipe"] = as_version_1(content["recipe"])
        torch.save(content, state)
    result = resume_finetune(run, changes={"epochs": 2})
    shown = load(result.exported["last"]).recipe.provenance.history
    assert shown[:-1] == tuple(history)
    assert shown[-1].startswith(f"finetune on {data.name}: epoch 2 of 2, ")
