"""What a fine-tuning run does, measures and remembers with ``--gc``."""

import json

import pytest
import yaml
from toy_data import write_toy_data

from covtool.checkpoints.model_file import load
from covtool.data.datasets.reading import scan
from covtool.errors import CheckpointError
from covtool.processes import ALONE
from covtool.specs import FinetuneRequest, InputOverrides, TrainingSpec
from covtool.training import finetune, resume_finetune
from covtool.training.centralization.hooks import layer_weights
from covtool.training.run.observer import SilentObserver
from covtool.training.start.prepare import build_parts, open_source
from covtool.training.step.update import (
    centralized_norm,
    forward_and_backward_,
    micro_batches,
    update_,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("toy"), train=4, val=2)


@pytest.fixture
def asked(data, tmp_path):
    def request(**training):
        settings = {"epochs": 1, "batch_size": 6, "workers": 0, "device": "cpu", **training}
        return FinetuneRequest(
            model="test_resnet",
            data=str(data),
            from_scratch=True,
            images=InputOverrides(img_size=24),
            output=str(tmp_path / "runs"),
            training=TrainingSpec(**settings),
        )

    return request


def metrics(result):
    lines = (result.directory / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def parts_of(request, data):
    observer = SilentObserver()
    layout, opened = scan(data), open_source(request, observer, ALONE)
    return build_parts(opened, request, layout, observer, ALONE)


@pytest.mark.parametrize("conv_only", [False, True])
@pytest.mark.parametrize("on", ["gradient", "update"])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_the_norm_after_centralization_is_that_of_the_centralized_gradient(
    asked, data, on, clip, conv_only
):
    parts = parts_of(asked(gc=True, gc_on=on, clip_grad=clip, gc_conv_only=conv_only), data)
    parts.begin_epoch(0)
    batch = next(iter(parts.training_batches))
    forward_and_backward_(parts, micro_batches(parts, [batch], None, total=len(batch[1])))
    chosen = {id(p) for p in layer_weights(parts.model, conv_only=conv_only)}
    before = after = 0.0
    for parameter in parts.model.parameters():
        gradient = parameter.grad.double()
        before += float((gradient**2).sum())
        if id(parameter) in chosen:
            rows = gradient.flatten(1)
            gradient = rows - rows.mean(1, keepdim=True)
        after += float((gradient**2).sum())
    factor = 1.0 if clip is None else min(1.0, clip / before**0.5)
    assert factor == 1 or factor < 0.9
    norm = update_(parts, [batch], updates=0).grad_norm
    assert norm == pytest.approx(before**0.5, rel=1e-4)
    assert centralized_norm(parts, norm) == pytest.approx(factor * after**0.5, rel=1e-4)
    assert centralized_norm(parts, norm) < 0.999 * factor * norm


def test_metrics_have_both_norms_and_without_gc_only_one(asked):
    for line in metrics(finetune(asked(gc=True))):
        assert 0 < line["grad_norm_centralized"] < line["grad_norm"]
    for line in metrics(finetune(asked())):
        assert line["grad_norm"] > 0
        assert line["grad_norm_centralized"] is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "gradient centralization on the gradient"),
        ({"gc_on": "update", "gc_conv_only": True}, "centralization on the update of convolutions"),
    ],
)
def test_the_exported_file_says_what_was_centralized(asked, settings, words):
    result = finetune(asked(gc=True, **settings))
    assert words in load(result.exported["last"]).recipe.provenance.history[-1]
    assert (
        "centralization"
        not in load(finetune(asked()).exported["last"]).recipe.provenance.history[-1]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gc": False}, "Centralized was gradient, and now it is nothing"),
        ({"gc_on": "update"}, "was gradient, and now it is update"),
        ({"gc_conv_only": True}, "was gradient, and now it is gradient of convolutions"),
    ],
)
def test_a_state_is_not_resumed_with_another_centralization(asked, change, words):
    directory = finetune(asked(gc=True)).directory
    path = directory / "args.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=words):
        resume_finetune(directory, changes={"epochs": 2})
