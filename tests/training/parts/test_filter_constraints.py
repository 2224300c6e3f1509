"""Fine-tuning of networks with decoupled convolutions."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from toy_data import write_toy_data

from covtool.checkpoints.model_file import load
from covtool.conversion import ConversionRequest, convert
from covtool.errors import ArgumentError
from covtool.layers import DecoupledConv2d
from covtool.ops.filters import orthogonality_penalty
from covtool.specs import (
    ConvolutionSpec,
    FinetuneRequest,
    HeadSpec,
    InputOverrides,
    ModelSource,
    TrainingSpec,
)
from covtool.training import FinetuneResult, finetune, plan_finetune, resume_finetune
from covtool.training.parts.filter_constraints import FilterConstraints, constrain_

Converted = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def converted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """A file of a network with such operators for the classes of `data`; made once, only read."""
    return cache(partial(convert_to, tmp_path_factory.mktemp("models"), data))


def convert_to(folder: Path, data: Path, **spec: object) -> Path:
    torch.manual_seed(0)
    request = ConversionRequest(
        source=ModelSource(name="test_resnet", from_scratch=True, input={"size": (32, 32)}),
        operations=(ConvolutionSpec(**{"conv": "tanh", **spec}), HeadSpec(head="gap")),
        output=folder / f"{len(list(folder.iterdir()))}.safetensors",
        classes_from=data,
        calibrate_with=data if spec.get("calibrated") else None,
        workers=0,
    )
    return convert(request).path


def asked(model: Path, data: Path, folder: Path, **training: object) -> FinetuneRequest:
    settings = {"epochs": 1, "batch_size": 12, "workers": 0, "smoothing": 0.0, "lr": 0.01}
    return FinetuneRequest(
        model=str(model),
        data=str(data),
        training=TrainingSpec(**{**settings, **training}),
        images=InputOverrides(img_size=32),
        output=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def trained(
    converted: Converted, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinetuneResult:
    """A run without any constraint; to be left as it is."""
    return finetune(asked(converted(), data, tmp_path_factory.mktemp("trained")))


def operators(path: Path) -> list[DecoupledConv2d]:
    return [m for m in load(path).modules() if isinstance(m, DecoupledConv2d)]


def test_filters_are_projected_and_the_file_says_so(
    converted: Converted, data: Path, tmp_path: Path
) -> None:
    model = converted()
    training = {"weight_projection": 1, "projection_norm": 2.0, "orthogonality": 1e-3}
    training["weighted_gradients"] = True
    result = finetune(asked(model, data, tmp_path, **training))
    for layer in operators(result.exported["last"]):
        norms = layer.weight.flatten(1).norm(dim=1)
        assert torch.allclose(norms, torch.full_like(norms, 2), atol=1e-5)
    spec = load(result.exported["last"]).recipe.operations[0]
    assert {name: getattr(spec, name) for name in training} == training


def test_constraints_of_the_file_hold_without_being_asked_for(
    converted: Converted, data: Path, tmp_path: Path
) -> None:
    model = converted(weight_projection=1, projection_norm=3.0)
    result = finetune(asked(model, data, tmp_path))
    norms = operators(result.exported["last"])[0].weight.flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, 3), atol=1e-5)


def test_projection_is_done_every_so_many_updates(converted: Converted, tmp_path: Path) -> None:
    model = load(converted(weight_projection=3))
    constraints = FilterConstraints(model)
    layer = next(m for m in model.modules() if isinstance(m, DecoupledConv2d))
    before = layer.weight.detach().clone()
    for updates in (1, 2):
        constraints.project_(updates)
        assert torch.equal(layer.weight, before)
    constraints.project_(3)
    assert torch.allclose(layer.weight.flatten(1).norm(dim=1), torch.ones(len(before)))


def test_penalty_is_that_of_all_operators_and_falls_in_training(
    converted: Converted, trained: FinetuneResult, data: Path, tmp_path: Path
) -> None:
    model = converted()
    penalized = finetune(asked(model, data, tmp_path, orthogonality=0.05))
    total = [
        sum(orthogonality_penalty(m.weight) for m in operators(run.exported["last"])).item()
        for run in (trained, penalized)
    ]
    assert total[1] < total[0]
    loaded = load(model)
    constrain_(loaded, loaded.recipe, TrainingSpec(orthogonality=0.5))
    expected = 0.5 * sum(orthogonality_penalty(m.weight) for m in operators(model))
    assert FilterConstraints(loaded).penalty().item() == pytest.approx(expected.item(), rel=1e-5)
    assert FilterConstraints(load(model)).penalty() is None


def test_learned_radius_is_trained_without_decay_and_stays_positive(
    converted: Converted, data: Path, tmp_path: Path
) -> None:
    model = converted(learn_radius=True, radius_per="filter")
    groups = plan_finetune(asked(model, data, tmp_path)).groups
    named = {name: group for group in groups for name in group.names}
    radii = [name for name in named if name.endswith("log_radius")]
    assert radii
    assert all(named[name].weight_decay == 0 for name in radii)
    result = finetune(asked(model, data, tmp_path, lr=0.1))
    before, after = operators(model)[0], operators(result.exported["last"])[0]
    assert not torch.equal(before.log_radius, after.log_radius)
    assert (after.radius() > 0).all()


def test_statistics_that_fit_no_features_are_trained(
    converted: Converted, trained: FinetuneResult, data: Path, tmp_path: Path
) -> None:
    assert "bn_stats: train" in (trained.directory / "args.yaml").read_text()
    calibrated = finetune(asked(converted(calibrated=True), data, tmp_path))
    assert "bn_stats: keep" in (calibrated.directory / "args.yaml").read_text()


def test_running_mean_follows_in_training_and_is_resumed(
    converted: Converted, data: Path, tmp_path: Path
) -> None:
    model = converted()
    assert operators(model)[0].norm_mean.item() == 1
    half = finetune(asked(model, data, tmp_path, epochs=1, weight_projection=2))
    assert operators(half.exported["last"])[0].norm_mean.item() != 1
    resumed = resume_finetune(half.directory, changes={"epochs": 2})
    assert operators(resumed.exported["last"])[0].num_batches_tracked == 6


def test_projection_may_be_taken_off_a_file_that_has_one(
    converted: Converted, data: Path, tmp_path: Path
) -> None:
    model = converted(weight_projection=1, projection_norm=3.0)
    result = finetune(asked(model, data, tmp_path, weight_projection=0))
    spec = load(result.exported["last"]).recipe.operations[0]
    assert (spec.weight_projection, spec.projection_norm) == (0, 1.0)


def test_statistics_of_a_trained_file_are_kept_in_the_next_run(
    trained: FinetuneResult, data: Path, tmp_path: Path
) -> None:
    second = finetune(asked(trained.exported["last"], data, tmp_path))
    assert "bn_stats: keep" in (second.directory / "args.yaml").read_text()


@pytest.mark.parametrize(
    ("spec", "training", "message"),
    [
        (None, {"orthogonality": 1e-4}, "--orthogonality has no effect"),
        ({"weighting": "linear"}, {"weight_projection": 2}, "--weight-projection has no effect"),
        ({}, {"projection_norm": 2.0}, "without --weight-projection"),
    ],
)
def test_constraint_without_effect_is_refused(
    converted: Converted,
    spec: dict | None,
    training: dict,
    message: str,
    data: Path,
    tmp_path: Path,
) -> None:
    source = "test_resnet" if spec is None else converted(**spec)
    request = asked(source, data, tmp_path, **training)
    with pytest.raises(ArgumentError, match=message):
        finetune(request.model_copy(update={"from_scratch": spec is None}))
    assert not (tmp_path / "runs").exists()
