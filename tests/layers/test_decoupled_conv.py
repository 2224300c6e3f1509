"""Decoupled convolutions against the paper's definition; their radius, gradients and edges."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache

import pytest
import torch
from conv_rows import (
    HALVES,
    STANDARDIZED,
    even_same,
    features,
    layer_for,
    layer_of,
    timms,
)
from covering import pairs
from paper_operator import (
    ANGULAR,
    GEOMETRIES,
    MAGNITUDE,
    WEIGHTING,
    each,
    measure,
    random_conv,
    random_tensor,
)
from tolerances import EXACT, FLOAT64
from torch import Tensor, nn
from torch.func import functional_call
from torch.testing import assert_close

from covtool.errors import UnknownVariantError
from covtool.layers import DecoupledConv2d
from covtool.layers.decoupled_conv import MOMENTUM
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.filters import WEIGHTINGS
from covtool.ops.magnitudes import MAGNITUDES
from covtool.specs import ConvolutionSpec

every_magnitude = pytest.mark.parametrize("conv", MAGNITUDES.names)
every_angular = pytest.mark.parametrize("angular", ANGULAR_ACTIVATIONS.names)
TABLES = {
    "conv": MAGNITUDES.names,
    "angular": ANGULAR_ACTIVATIONS.names,
    "weighting": WEIGHTINGS.names,
}
WITH_RADIUS = [row.name for row in MAGNITUDES if row.takes_radius]
every_radius = pytest.mark.parametrize("conv", WITH_RADIUS)


@cache
def measured(geometry: str) -> tuple[Tensor, Tensor, Tensor]:
    return measure(features(), random_conv(geometry))


def by_definition(geometry: str, layer: DecoupledConv2d) -> Tensor:
    """α h(‖x‖) g(θ) times the weighting, with the bias, number by number."""
    (norm, theta, size), spec = measured(geometry), layer.spec
    alpha = layer.alpha[:, None, None]
    radius = layer.radius()[:, None, None] if hasattr(layer, "log_radius") else 1.0
    beta = MAGNITUDES[spec.conv].beta if spec.beta is None else spec.beta
    strength = alpha * each(MAGNITUDE[spec.conv], norm, radius, beta or 0.0)
    response = strength * each(ANGULAR[spec.angular], theta, spec.k)
    response = response * each(WEIGHTING[spec.weighting], size)
    return response if layer.bias is None else response + layer.bias[:, None, None]


def with_a_scale_and_a_radius_for_each_filter(geometry: str, **chosen: object) -> DecoupledConv2d:
    spec = ConvolutionSpec(**chosen, scale_per="filter", radius_per="filter", unit="none")
    layer = DecoupledConv2d.from_conv(random_conv(geometry), spec)
    layer.alpha.copy_(torch.linspace(0.5, 2, layer.out_channels))
    if hasattr(layer, "log_radius"):
        layer.log_radius.copy_(torch.linspace(1, 8, layer.out_channels).log())
    return layer.eval()


def said_of(name: str) -> Callable[[str], str]:
    return lambda message: f"{name}: {message}"


def test_every_row_has_a_definition_to_be_held_against() -> None:
    assert tuple(MAGNITUDE) == MAGNITUDES.names
    assert set(ANGULAR) == set(ANGULAR_ACTIVATIONS.names)
    assert tuple(WEIGHTING) == WEIGHTINGS.names


@even_same
@pairs(geometry=list(GEOMETRIES), conv=MAGNITUDES.names, angular=ANGULAR_ACTIVATIONS.names)
def test_it_is_the_papers_operator(angular: str, conv: str, geometry: str) -> None:
    for weighting in WEIGHTINGS.names:
        layer = with_a_scale_and_a_radius_for_each_filter(
            geometry, conv=conv, angular=angular, weighting=weighting
        )
        expected = by_definition(geometry, layer).detach()
        assert_close(layer(features()), expected, **FLOAT64, msg=said_of(weighting))


@pytest.mark.parametrize("conv", [row.name for row in MAGNITUDES if row.beta is not None])
@pytest.mark.parametrize("beta", [0.0, 0.2, 3.0])
def test_beta_and_k_are_those_of_the_spec(beta: float, conv: str) -> None:
    layer = with_a_scale_and_a_radius_for_each_filter(
        "strided", conv=conv, beta=beta, angular="sigmoid", k=0.7
    )
    assert_close(layer(features()), by_definition("strided", layer).detach(), **FLOAT64)


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownVariantError, match="no magnitude named 'tan'"):
        DecoupledConv2d(4, 4, 3, spec=ConvolutionSpec(conv="tan"))
    with pytest.raises(UnknownVariantError, match="Did you mean 'cosine'"):
        DecoupledConv2d(4, 4, 3, spec=ConvolutionSpec(angular="cos"))


@pairs(conv=MAGNITUDES.names, angular=ANGULAR_ACTIVATIONS.names, factor=[1e-3, 7.0])
def test_without_weighting_the_scale_of_the_weights_changes_nothing(
    factor: float, conv: str, angular: str
) -> None:
    source = random_conv("grouped")
    spec = ConvolutionSpec(conv=conv, angular=angular, radius=3.0, unit="none")
    layer = DecoupledConv2d.from_conv(source, spec)
    expected = layer(features())
    with torch.no_grad():
        layer.weight.mul_(factor)
    assert_close(layer(features()), expected, **FLOAT64)


@every_angular
@every_magnitude
def test_weighted_gradients_are_the_norm_times_the_gradient(conv: str, angular: str) -> None:
    layers = [
        DecoupledConv2d.from_conv(
            random_conv("grouped"),
            ConvolutionSpec(conv=conv, angular=angular, weighted_gradients=weighted, unit="none"),
        )
        for weighted in (False, True)
    ]
    responses = [layer(features()) for layer in layers]
    for response in responses:
        response.square().sum().backward()
    plain, weighted = (layer.weight.grad for layer in layers)
    norm = layers[0].weight.detach().flatten(1).norm(dim=1)[:, None, None, None]
    assert_close(responses[1], responses[0], **EXACT)
    assert_close(weighted, norm * plain, **FLOAT64)


@pairs(conv=WITH_RADIUS, per=["layer", "filter"], unit=["none", "running-mean"])
def test_a_learned_radius_gets_a_gradient_and_stays_positive(
    conv: str, per: str, unit: str
) -> None:
    radius = 1.0 if unit == "running-mean" else 5.0  # norms are on either side of it
    layer = layer_of(f"{conv} linear", radius=radius, radius_per=per, learn_radius=True, unit=unit)
    assert layer.log_radius.shape == (() if per == "layer" else (4,))
    assert "log_radius" in dict(layer.named_parameters())
    layer(features()).sum().backward()
    assert (layer.log_radius.grad != 0).all()
    for step in (30.0, -30.0):
        stepped = deepcopy(layer)
        with torch.no_grad():
            stepped.log_radius.add_(step * layer.log_radius.grad.sign())
        assert (stepped.radius() > 0).all()
        assert stepped(features()).isfinite().all()


@every_radius
def test_a_radius_that_is_not_learned_is_no_parameter(conv: str) -> None:
    layer = layer_of(f"{conv} linear")
    assert "log_radius" in dict(layer.named_buffers())
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}


def test_functions_without_a_radius_have_none() -> None:
    for row in MAGNITUDES:
        layer = layer_of(f"{row.name} linear", learn_radius=True, unit="running-mean")
        for name in ("log_radius", "norm_mean", "num_batches_tracked"):
            assert (name in layer.state_dict()) == row.takes_radius


def following(**changes: object) -> DecoupledConv2d:
    spec = ConvolutionSpec(**{"conv": "ball", "unit": "running-mean", **changes})
    return DecoupledConv2d.from_conv(random_conv("strided"), spec)


def batches(count: int) -> Iterator[Tensor]:
    return (random_tensor(2, 4, 5, 6, seed=seed) * (seed + 1) for seed in range(count))


def test_running_mean_is_first_the_plain_mean_of_the_batches() -> None:
    layer, seen = following().train(), []
    for batch in batches(5):
        layer(batch)
        seen.append(layer.norms(batch).mean())
        assert_close(layer.norm_mean, torch.stack(seen).mean(), **FLOAT64)


def test_running_mean_moves_by_the_momentum_later() -> None:
    layer = following().train()
    layer.norm_mean.fill_(7.0)
    layer.num_batches_tracked.fill_(1000)
    layer(features())
    expected = (1 - MOMENTUM) * 7.0 + MOMENTUM * layer.norms(features()).mean()
    assert_close(layer.norm_mean, expected, **FLOAT64)
    assert layer.num_batches_tracked == 1001


def test_running_mean_stays_in_eval_mode_and_without_a_unit() -> None:
    layer = following().eval()
    layer(features())
    assert layer.norm_mean == 1
    assert layer.num_batches_tracked == 0
    assert not hasattr(following(unit="none").train(), "norm_mean")


@every_radius
@pytest.mark.parametrize("training", [False, True])
def test_radius_is_measured_in_the_running_mean(training: bool, conv: str) -> None:
    layer = following(conv=conv, radius=0.8).train(training)
    layer.norm_mean.fill_(5.0)
    response = layer(features())
    assert (layer.norm_mean == 5) == (not training)
    fixed = following(conv=conv, radius=0.8 * layer.norm_mean.item(), unit="none")
    assert_close(response, fixed(features()), **FLOAT64)


@every_radius
def test_no_gradient_flows_through_the_running_mean(conv: str) -> None:
    layer, maps = following(conv=conv).train(), features().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(maps).sum(), maps)
    assert not layer.norm_mean.requires_grad
    fixed = following(conv=conv, unit="none", radius=layer.norm_mean.item())
    (expected,) = torch.autograd.grad(fixed(maps).sum(), maps)
    assert_close(gradient, expected, **FLOAT64)


@pytest.mark.parametrize("unit", ["none", "running-mean"])
@pytest.mark.parametrize("per", ["layer", "filter"])
def test_a_radius_can_be_set_in_the_units_of_the_features(per: str, unit: str) -> None:
    layer = following(unit=unit, radius_per=per, learn_radius=True)
    radius = torch.tensor(12.0) if per == "layer" else torch.tensor([1.0, 2.0, 8.0, 50.0])
    layer.set_radius_(radius.double(), torch.tensor(4.0, dtype=torch.float64))
    assert_close(layer.radius().detach(), radius.double(), **FLOAT64)
    assert isinstance(layer.log_radius, nn.Parameter)
    if unit == "running-mean":
        assert layer.norm_mean == 4
        assert layer.num_batches_tracked == round(1 / MOMENTUM)


@pairs(**TABLES)
def test_gradient_agrees_with_finite_differences(conv: str, angular: str, weighting: str) -> None:
    chosen = {"conv": conv, "angular": angular, "weighting": weighting}
    spec = ConvolutionSpec(
        **chosen,
        learn_radius=True,
        radius=1.3,
        radius_per="filter",
        scale_per="filter",
        unit="none",
    )
    layer = DecoupledConv2d(2, 2, 2, spec=spec, bias=False).double()
    names = [name for name in ("weight", "alpha", "log_radius") if hasattr(layer, name)]

    def operator(maps: Tensor, *tensors: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, tensors, strict=True)), maps)

    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(3))
    starts = [features(1, 2, 3, 3), *(getattr(layer, name) for name in names)]
    inputs = [start.detach().clone().requires_grad_() for start in starts]
    assert torch.autograd.gradcheck(operator, inputs)


@pytest.mark.parametrize("name", STANDARDIZED)
def test_gradient_goes_through_standardized_filters_and_their_gain(name: str) -> None:
    layer = layer_for("tanh linear", timms(name, kernel_size=2))
    layer(features(1, 4, 3, 3)).square().sum().backward()
    for parameter in layer.parameters():
        assert (parameter.grad != 0).all()


def zero_on_the_left() -> Tensor:
    maps = features(2, 4, 6, 8).relu()
    maps[..., :5] = 0
    return maps


@pairs(**TABLES, dtype=[torch.float32, *HALVES])
def test_zero_patches_and_zero_filters_have_finite_values_and_gradients(
    dtype: torch.dtype, conv: str, angular: str, weighting: str
) -> None:
    spec = ConvolutionSpec(conv=conv, angular=angular, weighting=weighting, unit="running-mean")
    layer = DecoupledConv2d.from_conv(random_conv("padded").to(dtype), spec).train()
    with torch.no_grad():
        layer.weight[1] = 0
    for maps in (torch.zeros(1, 4, 4, 4), zero_on_the_left()):
        maps = maps.to(dtype).requires_grad_()
        response = layer.response(maps)
        (response.float() * 0.01).sum().backward()
        assert (response[:, 1] == 0).all()
        assert (response[..., 0] == 0).all()
        assert maps.grad.isfinite().all()
        assert layer.weight.grad[[0, 2, 3]].isfinite().all()
        assert dtype == torch.float16 or layer.weight.grad.isfinite().all()  # 1/‖w‖ can leave it


@pytest.mark.parametrize("name", MAGNITUDES.names)
@pytest.mark.parametrize("weighting", ["none", "linear"])
def test_scale_and_radius_of_a_deep_layer_do_not_overflow_float16(
    name: str, weighting: str
) -> None:
    """Calibrated on real networks, α and ρ are in the hundreds, and the convolution is not."""
    torch.manual_seed(0)
    conv = nn.Conv2d(256, 32, 1, bias=False)
    x = 25 * torch.rand(2, 256, 5, 5)
    given = {"radius": 400.0} if MAGNITUDES[name].takes_radius else {}
    size = 1.0 if weighting == "linear" else conv.weight.norm().item() / 32**0.5
    scale = 400.0 * size if MAGNITUDES[name].bounded or name == "log" else size
    spec = ConvolutionSpec(conv=name, weighting=weighting, scale=scale, unit="none", **given)
    layer = DecoupledConv2d.from_conv(conv, spec)
    with torch.autocast("cpu", dtype=torch.float16):
        half = layer(x)
    assert half.isfinite().all()
    assert (half.float() - layer(x)).norm() < 1e-2 * layer(x).norm()
