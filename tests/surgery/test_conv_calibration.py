"""Calibrated operators follow the convolutions whose place they took."""

import copy

import pytest
import torch
from families import lively_
from tolerances import FLOAT32_CHAIN, FLOAT64
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.backbones.create import create_model, parse_name
from covtool.layers import DecoupledConv2d
from covtool.specs import ConvolutionSpec, InputSpec
from covtool.surgery import apply_convolutions, plan_convolutions
from covtool.surgery.conv_calibration import (
    calibrate_convolutions_,
    fit_radius,
    fit_scale_,
)
from covtool.variants import CONVOLUTIONS

IMAGES = InputSpec(size=(64, 64))
BATCH = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """With batch norms that know the images, as a trained network's do."""
    torch.manual_seed(0)
    model = lively_(create_model(parse_name("test_resnet")[0], num_classes=5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(BATCH)
    return model.eval()


def calibrated(network: nn.Module, *, quantile: float = 0.9, **spec: object):
    plan = plan_convolutions(network, ConvolutionSpec(calibrated=True, **spec), IMAGES)
    model = apply_convolutions(network, plan).eval()
    done = calibrate_convolutions_(model, network, plan, BATCH, radius_quantile=quantile)
    return model, done


def answers(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(BATCH)


def error(model: nn.Module, network: nn.Module) -> float:
    wanted = answers(network)
    return ((answers(model) - wanted).norm() / (wanted - wanted.mean(dim=0)).norm()).item()


def test_the_convolution_itself_stays_what_it_is(network: nn.Module) -> None:
    model, done = calibrated(network, conv="linear", weighting="linear")
    assert max(fit.relative_error for fit in done.layers) < 1e-3
    assert_close(answers(model), answers(network), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in CONVOLUTIONS.names if n != "linear"])
def test_calibrated_network_is_closer_to_its_source_than_an_uncalibrated_one(
    name: str, network: nn.Module
) -> None:
    model, _ = calibrated(network, conv=name)
    plan = plan_convolutions(network, ConvolutionSpec(conv=name), IMAGES)
    assert error(model, network) < error(apply_convolutions(network, plan).eval(), network)


def test_larger_quantile_is_closer_and_bites_less(network: nn.Module) -> None:
    errors, beyond = [], []
    for quantile in (0.5, 0.9, 1.0):
        _, done = calibrated(network, conv="ball", quantile=quantile)
        errors.append(sum(fit.relative_error for fit in done.layers))
        beyond.append([fit.beyond for fit in done.layers])
    assert errors == sorted(errors, reverse=True)
    for quantile, shares in zip((0.5, 0.9, 1.0), beyond, strict=True):
        assert all(abs(share - 100 * (1 - quantile)) < 3 for share in shares)


@pytest.mark.parametrize("unit", ["none", "running-mean"])
def test_radius_is_the_quantile_in_any_unit(unit: str, network: nn.Module) -> None:
    model, done = calibrated(network, conv="tanh", unit=unit)
    for fit in done.layers:
        layer = model.get_submodule(fit.path)
        assert layer.radius().item() == pytest.approx(fit.radius, rel=1e-5)
    assert_close(answers(model), answers(calibrated(network, conv="tanh")[0]), **FLOAT32_CHAIN)


def test_scale_is_the_least_squares_factor_of_each_filter() -> None:
    torch.manual_seed(1)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2).double()
    features = torch.randn(20, 4, 7, 7, dtype=torch.float64)
    for per in ("filter", "layer"):
        spec = ConvolutionSpec(conv="tanh", radius=2.0, scale_per=per)
        layer = DecoupledConv2d.from_conv(conv, spec)
        with torch.no_grad():
            wanted = layer.convolve(features)
            given = layer.response(features)
            left = fit_scale_(layer, features)
            count = 6 if per == "filter" else 1
            rows = [t.movedim(1, 0).reshape(count, -1, 1) for t in (given, wanted)]
            expected = torch.linalg.lstsq(*rows).solution
            assert_close(layer.alpha, expected.reshape(layer.alpha.shape), **FLOAT64)
            difference = layer.response(features) - wanted
            assert left == pytest.approx((difference.norm() / wanted.norm()).item(), rel=1e-9)


def test_radius_of_each_filter_is_that_of_its_group() -> None:
    norms = torch.rand(5, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    radius = fit_radius(norms, torch.Size([6]), 0.8)
    assert_close(radius[:3], radius[:1].expand(3))
    for group in range(2):
        within = (norms[:, group] <= radius[3 * group]).double().mean().item()
        assert within == pytest.approx(0.8, abs=0.01)
    assert fit_radius(norms, torch.Size([]), 1.0).item() == norms.max().item()


def test_radius_of_patches_that_are_mostly_zero_is_positive() -> None:
    norms = torch.full((4, 1, 5, 5), 1e-12)
    assert fit_radius(norms, torch.Size([]), 0.5).item() == 1
    norms[0, 0, 0, 0] = 3.0
    assert fit_radius(norms, torch.Size([]), 0.5).item() == 3


def test_dead_filters_and_dead_inputs_stay_finite(network: nn.Module) -> None:
    broken = copy.deepcopy(network)
    with torch.no_grad():
        broken.layer1[0].conv1.weight[0].zero_()
        broken.layer2[0].bn1.weight.zero_()
        broken.layer2[0].bn1.bias.fill_(-1)  # nothing passes the ReLU
    for name in CONVOLUTIONS.names:
        model, done = calibrated(broken, conv=name)
        assert answers(model).isfinite().all()
        assert all(fit.relative_error >= 0 for fit in done.layers)


def test_batch_norms_keep_the_distance_of_their_training_set(network: nn.Module) -> None:
    biased = copy.deepcopy(network)
    with torch.no_grad():  # trained on other images than the calibration's
        biased.layer2[0].bn1.running_mean += 0.3
        biased.layer2[0].bn1.running_var *= 1.7
    model, done = calibrated(biased, conv="linear", weighting="linear")
    assert "layer2.0.bn1" in done.batch_norms
    for key in ("running_mean", "running_var"):
        kept = getattr(biased.layer2[0].bn1, key)
        assert_close(getattr(model.layer2[0].bn1, key), kept, rtol=1e-3, atol=1e-4)


def test_calibration_leaves_the_source_and_the_weights_alone(network: nn.Module) -> None:
    before = copy.deepcopy(network.state_dict())
    model, _ = calibrated(network, conv="tanh")
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])
        if "running_" not in key:
            assert torch.equal(model.state_dict()[key], before[key])
    assert not any(m._forward_pre_hooks for m in (*model.modules(), *network.modules()))
