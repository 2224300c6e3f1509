"""What every operator in a convolution's place has in common, from its weights to its export."""

from copy import deepcopy

import pytest
import torch
from conv_rows import (
    DTYPES,
    HALVES,
    TIMMS,
    as_convolution,
    even_same,
    every_row,
    features,
    layer_for,
    layer_of,
    timms,
)
from covering import pairs
from paper_operator import GEOMETRIES, random_conv, random_tensor
from tolerances import EXACT, FLOAT32_CHAIN, FLOAT64, HALF
from torch import Tensor, nn
from torch.testing import assert_close

from covtool.layers import ConvOperator, DecoupledConv2d


@even_same
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_linear_cosine_with_linear_weighting_is_the_convolution(geometry: str) -> None:
    conv = random_conv(geometry)
    layer = DecoupledConv2d.from_conv(conv, as_convolution())
    assert_close(layer(features()), conv(features()), **FLOAT64)
    if conv.bias is None:
        assert_close(layer(features()), conv(features()), **EXACT)
    assert_close(layer.response(features()), layer.convolve(features()), **EXACT)


@pairs(name=list(TIMMS), side=[7, 8, 9], stride=[1, 2, 3], dilation=[1, 2])
def test_it_is_timms_convolution(name: str, dilation: int, stride: int, side: int) -> None:
    conv = timms(name, kernel_size=3, stride=stride, dilation=dilation)
    layer = DecoupledConv2d.from_conv(conv, as_convolution())
    maps = features(2, 4, side, side + 1)
    assert_close(layer(maps), conv(maps), **FLOAT64)
    assert_close(layer.convolve(maps), conv(maps) - bias_of(conv), **FLOAT64)


def bias_of(conv: nn.Conv2d) -> Tensor | float:
    return 0.0 if conv.bias is None else conv.bias[:, None, None]


@pytest.mark.parametrize("name", TIMMS)
def test_it_is_timms_convolution_in_odd_shapes(name: str) -> None:
    for shape in ({"groups": 2}, {"kernel_size": (2, 5), "stride": (1, 2)}):
        conv = timms(name, **{"kernel_size": 3, **shape})
        layer = DecoupledConv2d.from_conv(conv, as_convolution())
        assert_close(layer(features(2, 4, 7, 8)), conv(features(2, 4, 7, 8)), **FLOAT64)


@pytest.mark.parametrize("name", TIMMS)
def test_norms_of_patches_are_those_after_timms_padding(name: str) -> None:
    conv = timms(name, kernel_size=3, stride=2)
    layer, maps = DecoupledConv2d.from_conv(conv, as_convolution()), features(2, 4, 7, 8)
    ones = nn.Conv2d(4, 1, 3, bias=False, dtype=torch.float64)
    ones.weight.data.fill_(1)
    padded, geometry = layer.placed(maps)
    energy = nn.functional.conv2d(padded.square(), ones.weight, None, *geometry)
    assert_close(layer.norms(maps), energy.sqrt(), **FLOAT64)
    assert layer.norms(maps).shape[2:] == conv(maps).shape[2:]


@every_row
@pytest.mark.parametrize("per", ["layer", "filter"])
def test_state_dict_of_the_convolution_fits_and_goes_back(per: str, row: str) -> None:
    conv, other = random_conv("grouped"), nn.Conv2d(4, 4, 3, padding=1, groups=2).double()
    layer = layer_of(row, "grouped", scale_per=per, radius_per=per, unit="running-mean")
    state = layer.state_dict()
    assert {key: state[key].shape for key in conv.state_dict()} == {
        key: value.shape for key, value in conv.state_dict().items()
    }
    report = layer.load_state_dict(other.state_dict(), strict=False)
    assert not report.unexpected_keys
    assert not set(report.missing_keys) & set(conv.state_dict())
    assert not conv.load_state_dict(layer.state_dict(), strict=False).missing_keys
    assert_close(conv(features()), other(features()), **EXACT)


@pytest.mark.parametrize("name", TIMMS)
def test_state_dict_of_timms_convolution_fits_too(name: str) -> None:
    conv = timms(name, kernel_size=3)
    state = DecoupledConv2d.from_conv(conv).state_dict()
    assert {key: state[key].shape for key in conv.state_dict()} == {
        key: value.shape for key, value in conv.state_dict().items()
    }


@every_row
def test_state_dict_makes_another_layer_the_same(row: str) -> None:
    trained = layer_of(row, learn_radius=True, unit="running-mean").train()
    trained(features())
    other = layer_for(
        row, nn.Conv2d(4, 4, 3, 2, 1), learn_radius=True, unit="running-mean"
    ).double()
    other.load_state_dict(trained.state_dict())
    assert_close(other.eval()(features()), trained.eval()(features()), **EXACT)


@every_row
def test_the_convolution_is_copied_and_left_alone(row: str) -> None:
    conv = random_conv("strided").eval()
    conv.weight.requires_grad_(False)
    before = deepcopy(conv.state_dict())
    layer = layer_for(row, conv)
    assert not layer.training
    assert not layer.weight.requires_grad
    assert layer.bias.requires_grad
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    assert_close(conv.state_dict(), before, **EXACT)


@every_row
def test_deepcopy_is_another_layer_with_the_same_answer(row: str) -> None:
    layer = layer_of(row)
    copied = deepcopy(layer)
    assert_close(copied(features()), layer(features()), **EXACT)
    with torch.no_grad():
        copied.weight.zero_()
    assert (layer.weight != 0).all()


@every_row
def test_its_repr_names_the_operator_beside_the_shape(row: str) -> None:
    layer = layer_of(row)
    text, spec = repr(layer), layer.spec
    assert text.startswith(f"{type(layer).__name__}(4, 4, kernel_size=(3, 3), stride=(2, 2)")
    assert f"operator={layer.operator}" in text
    assert layer.operator.startswith(spec.conv)
    if isinstance(layer, DecoupledConv2d):
        assert spec.angular in layer.operator
        assert (f"{spec.weighting} in ‖w‖" in layer.operator) == (spec.weighting != "none")


@every_row
def test_alpha_multiplies_the_response_and_not_the_bias(row: str) -> None:
    one, other = layer_of(row), layer_of(row, scale=2.5)
    assert_close(other.response(features()), 2.5 * one.response(features()), **FLOAT64)
    assert_close(other(features()), other.response(features()) + one.bias[:, None, None], **EXACT)


@every_row
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_scale_and_radius_are_what_was_asked_for_to_the_last_digit(
    dtype: torch.dtype, row: str
) -> None:
    layer = layer_for(row, random_conv("strided").to(dtype), scale=0.1, radius=0.3)
    assert layer.alpha == torch.tensor(0.1, dtype=dtype)
    if hasattr(layer, "log_radius"):
        rounding = 2 * torch.finfo(dtype).eps
        assert_close(layer.radius(), torch.tensor(0.3, dtype=dtype), rtol=rounding, atol=0)


@every_row
def test_two_batches_before_one_backward(row: str) -> None:
    layer = layer_of(row, learn_radius=True, unit="running-mean").train()
    (layer(features()) + layer(2 * features())).sum().backward()
    assert layer.weight.grad.isfinite().all()


@every_row
def test_dtype_is_kept_and_the_input_left_alone(row: str) -> None:
    for dtype in DTYPES:
        maps = features().to(dtype)
        before = maps.clone()
        for layer in (layer_for(row, random_conv("strided").to(dtype)), layer_of(row).to(dtype)):
            assert layer(maps).dtype == dtype
            assert all(tensor.dtype == dtype for tensor in layer.parameters())
        assert_close(maps, before, **EXACT)


@every_row
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_layer_can_be_made_in_any_dtype(dtype: torch.dtype, row: str) -> None:
    made = layer_of(row, scale_per="filter", unit="running-mean")
    cls, spec = type(made), made.spec
    layer = cls(4, 6, 3, padding=1, spec=spec, dtype=dtype).train()
    assert layer(features().to(dtype)).dtype == dtype
    with torch.device("meta"):
        assert {t.device.type for t in cls(4, 6, 3, spec=spec).state_dict().values()} == {"meta"}


@every_row
def test_float32_is_close_to_float64(row: str) -> None:
    for geometry in ("strided", "grouped"):
        wide = layer_of(row, geometry)
        close = deepcopy(wide).float()(features().float()).double()
        assert_close(close, wide(features()), **FLOAT32_CHAIN)


@every_row
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_autocast_is_close(dtype: torch.dtype, row: str) -> None:
    wide = layer_of(row, "grouped")
    maps = features().float().requires_grad_()
    layer = deepcopy(wide).float()
    with torch.autocast("cpu", dtype=dtype):
        response = layer(maps)
    assert response.dtype == dtype
    response.float().square().sum().backward()
    expected = wide(features())
    scale = expected.abs().max()
    assert_close(response.double() / scale, expected / scale, **HALF)
    assert maps.grad.isfinite().all()
    assert layer.weight.grad.isfinite().all()


def test_norms_under_autocast_are_accumulated_in_float32() -> None:
    maps = random_tensor(1, 512, 5, 5).bfloat16()
    layer = DecoupledConv2d(512, 2, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norms = layer.norms(maps)
    wide = layer.norms(maps.double())
    assert ((norms - wide).abs() / wide).max() < 1e-5


@every_row
def test_channels_last_stays_so_with_the_same_values(row: str) -> None:
    for geometry in ("strided", "grouped", "depthwise", "reflected"):
        layer = layer_of(row, geometry)
        maps = features().contiguous(memory_format=torch.channels_last)
        response = layer.to(memory_format=torch.channels_last)(maps)
        assert response.is_contiguous(memory_format=torch.channels_last)
        assert_close(response, layer_of(row, geometry)(features()), **FLOAT64)


@every_row
def test_traces_as_one_graph(row: str) -> None:
    torch._dynamo.reset()
    layer = layer_of(row, unit="running-mean").eval()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for maps in (features(), 2 * features()):
        assert_close(compiled(maps), layer(maps), **FLOAT64)


@pytest.mark.parametrize("row", ["tanh linear", "segmented linear", "ball, tanh"])
def test_traces_in_training_with_its_gradients_and_running_mean(row: str) -> None:
    torch._dynamo.reset()
    layer = layer_of(row, "grouped", unit="running-mean", learn_radius=True).train()
    expected = deepcopy(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for maps in (features(), 2 * features()):
        for trained in (compiled, expected):
            trained(maps).square().sum().backward()
    for ours, theirs in zip(layer.parameters(), expected.parameters(), strict=True):
        assert_close(ours.grad, theirs.grad, **FLOAT64)
    assert_close(layer.state_dict(), expected.state_dict(), **FLOAT64)


@every_row
def test_exports_for_any_number_of_images(row: str) -> None:
    layer = layer_of(row, unit="running-mean").eval()
    dynamic = ({0: torch.export.Dim("images")},)
    program = torch.export.export(layer, (features(),), dynamic_shapes=dynamic)
    for count in (1, 2, 5):
        maps = features(count, 4, 5, 6)
        assert_close(program.module()(maps), layer(maps), **FLOAT64)


def test_timms_padding_exports_too() -> None:
    layer = layer_for("tanh linear", timms("StdConv2dSame", kernel_size=3, stride=2)).eval()
    dynamic = ({0: torch.export.Dim("images")},)
    program = torch.export.export(layer, (features(),), dynamic_shapes=dynamic)
    assert_close(program.module()(features(3, 4, 5, 6)), layer(features(3, 4, 5, 6)), **FLOAT64)


def test_the_base_has_no_response_of_its_own() -> None:
    with pytest.raises(NotImplementedError):
        ConvOperator(4, 4, 3)(features().float())
