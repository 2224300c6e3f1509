"""Calibrated heads: closed forms over images that stream by."""

import pytest
import torch
from scipy.special import log_softmax
from tolerances import EXACT, FLOAT32_CHAIN
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.ops.ridge import fit_ridge, mistakes
from covtool.specs import HeadSpec, InputSpec
from covtool.surgery import apply_head, calibrate_head_, plan_head, pooling_of
from covtool.surgery.calibration_memory import plan_memory

IMAGES = InputSpec(size=(96, 96))
CLASSES = 3


def textures(count: int = 36) -> list[tuple[Tensor, Tensor]]:
    """Batches of stripes, in a direction by class, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % CLASSES
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    waves = torch.stack([torch.sin(rows), torch.sin(columns), torch.sin((rows + columns) / 1.4)])
    images = waves[labels][:, None].expand(-1, 3, -1, -1)
    noise = torch.randn(count, 3, 96, 96, generator=generator)
    return list(zip((images + 0.5 * noise).split(8), labels.split(8), strict=True))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return create_model(parse_name("test_resnet")[0], num_classes=10)


def operated(network: nn.Module, *, dim: int = 8, **spec: object):
    plan = plan_head(network, HeadSpec(dim=dim, **spec), IMAGES, num_classes=CLASSES)
    return apply_head(network, plan).eval(), plan


def pooled(model: nn.Module, plan, batches: list[tuple[Tensor, Tensor]]) -> Tensor:
    with torch.no_grad():
        return torch.cat(
            [model.forward_head(model.forward_features(x), pre_logits=True) for x, _ in batches]
        )


@pytest.mark.parametrize("reduction", ["linear", "conv-bn-relu", "none"])
def test_classifier_is_the_ridge_regression_of_the_pooled_features(
    network: nn.Module, reduction: str
) -> None:
    model, plan = operated(network, reduction=reduction)
    batches = textures()
    result = calibrate_head_(model, plan, batches, num_images=36)
    labels = torch.cat([y for _, y in batches])
    fit = fit_ridge(pooled(model, plan, batches), nn.functional.one_hot(labels), loss=mistakes)
    classifier = model.get_submodule(plan.sites.classifier)
    expected = (result.temperature * fit.weight).float()
    assert_close(classifier.weight.detach(), expected, rtol=1e-3, atol=1e-4)
    assert result.images == 36
    assert result.penalty == pytest.approx(fit.penalty, rel=1e-3)
    logits = result.temperature * fit.left_out.double() / result.predictions.temperature
    likely = log_softmax(logits.numpy(), axis=1)[range(36), labels]
    assert result.left_out_loss == pytest.approx(-likely.mean(), rel=1e-3)


def test_calibrated_head_tells_the_classes_apart_better_than_chance(network: nn.Module) -> None:
    model, plan = operated(network, reduction="linear")
    result = calibrate_head_(model, plan, textures(), num_images=36)
    assert result.left_out_top_1 > 60


def test_reduction_becomes_the_principal_directions(network: nn.Module) -> None:
    model, plan = operated(network, reduction="linear")
    batches = textures()
    result = calibrate_head_(model, plan, batches, num_images=36)
    maps = torch.cat([model.forward_features(x) for x, _ in batches]).detach().double()
    rows = maps.movedim(1, -1).flatten(0, -2)
    values, vectors = torch.linalg.eigh(torch.cov(rows.mT, correction=0))
    weight = pooling_of(model, plan).reduction.conv.weight[:, :, 0, 0].double()
    alignment = (weight @ vectors.flip(1)[:, :8]).abs()
    assert_close(alignment, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-3)
    share = 100 * values[-8:].sum() / values.sum()
    assert result.explained_variance == pytest.approx(share.item(), rel=1e-4)


def test_batch_norms_of_the_head_get_the_statistics_of_the_images(network: nn.Module) -> None:
    model, plan = operated(network, reduction="conv-bn-relu", post_norm="batchnorm")
    batches = textures()
    calibrate_head_(model, plan, batches, num_images=36)
    features = pooled(model, plan, batches)
    assert_close(features.mean(dim=0), torch.zeros(36), rtol=0, atol=1e-3)
    norm = pooling_of(model, plan).reduction.bn
    assert (norm.running_var > 0).all()


def test_streaming_gives_the_same_head_as_keeping_features(network: nn.Module) -> None:
    model, plan = operated(network, dim=6, reduction="linear")
    # The least that gives the exact solution: features are fewer than images, and not kept.
    streamed = plan_memory(36, plan.in_features, 1e-6, classes=CLASSES).exact_gib
    heads = []
    for memory in (2.0, streamed):
        model, plan = operated(network, dim=6, reduction="linear")
        result = calibrate_head_(model, plan, textures(), num_images=36, memory_gib=memory)
        heads.append(model.get_submodule(plan.sites.classifier).weight.detach())
        assert result.kept_features == (memory == 2.0)
        assert not result.projected
    assert_close(*heads, rtol=1e-2, atol=1e-2)


def test_projected_features_still_give_a_head_for_all_features(network: nn.Module) -> None:
    model, plan = operated(network, reduction="linear")
    result = calibrate_head_(model, plan, textures(), num_images=36, memory_gib=1e-6)
    assert result.projected
    assert result.system_size < plan.in_features
    assert result.exact_in_reach
    model, plan = operated(network, reduction="linear")
    memory = result.exact_memory_gib
    exact = calibrate_head_(model, plan, textures(), num_images=36, memory_gib=memory)
    assert not exact.projected


def test_backbone_is_untouched_and_calibration_is_deterministic(network: nn.Module) -> None:
    states = []
    for _ in range(2):
        model, plan = operated(network, reduction="linear")
        before = {k: v.clone() for k, v in network.state_dict().items() if not k.startswith("fc")}
        calibrate_head_(model, plan, textures(), num_images=36)
        after = model.state_dict()
        assert_close({name: after[name] for name in before}, before, **EXACT)
        states.append(after)
    assert_close(states[0], states[1], **FLOAT32_CHAIN)


def test_fused_head_is_calibrated_on_both_parts(network: nn.Module) -> None:
    model, plan = operated(network, reduction="linear", fuse="gap")
    calibrate_head_(model, plan, textures(), num_images=36)
    weight = model.get_submodule(plan.sites.classifier).weight
    assert weight[:, : plan.sites.in_features].abs().sum() > 0
    assert weight[:, plan.sites.in_features :].abs().sum() > 0
