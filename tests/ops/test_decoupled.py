"""Norms of patches and the decoupled convolution, against loops and at the edges."""

import pytest
import torch
from covering import pairs
from paper_operator import GEOMETRIES, measure, random_conv, random_tensor
from tolerances import EXACT, FLOAT64, HALF
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from covtool.ops.angular import ANGULAR_ACTIVATIONS, AngularRow
from covtool.ops.decoupled import decoupled_conv2d, patch_norm
from covtool.ops.decoupling import Decoupling
from covtool.ops.filters import WEIGHTINGS
from covtool.ops.magnitudes import MAGNITUDES, NEGLIGIBLE, MagnitudeRow
from covtool.ops.patches import Geometry

every_magnitude = pytest.mark.parametrize("magnitude", list(MAGNITUDES), ids=lambda row: row.name)
every_angular = pytest.mark.parametrize(
    "angular", list(ANGULAR_ACTIVATIONS), ids=lambda row: row.name
)


def every_pair(**axes):
    """Each magnitude with each angular activation, and with them each value of other axes."""
    rows = {"magnitude": list(MAGNITUDES), "angular": list(ANGULAR_ACTIVATIONS)}
    return pairs(ids=lambda value: getattr(value, "name", str(value)), **rows, **axes)


HALVES = [torch.float16, torch.bfloat16]
DTYPES = [torch.float64, torch.float32, *HALVES]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
RADIUS, BETA, K = 2.0, 0.7, 0.3
PLAIN = Geometry()
PLACES = {
    "plain": PLAIN,
    "padded": Geometry(padding=(1, 1)),
    "strided and grouped": Geometry(stride=(2, 1), padding=(1, 0), groups=2),
    "depthwise": Geometry(padding="same", groups=4),
}
zeros_only = [name for name in GEOMETRIES if "padding_mode" not in GEOMETRIES[name]]
even_same = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def decoupling(magnitude: MagnitudeRow, angular: AngularRow) -> Decoupling:
    """Both functions as they are, without the short cuts."""

    def radius() -> Tensor:
        return torch.tensor(RADIUS, dtype=torch.float64)

    return Decoupling(magnitude=magnitude, angular=angular, radius=radius, beta=BETA, k=K)


def filters(geometry: Geometry = PLAIN, count: int = 4, side: int = 2) -> Tensor:
    return random_tensor(count, 4 // geometry.groups, side, side, seed=1)


def geometry_of(name: str) -> Geometry:
    conv = random_conv(name)
    return Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)


@even_same
@pytest.mark.parametrize("name", zeros_only)
def test_norm_is_that_of_each_patch_that_the_convolution_sees(name: str) -> None:
    conv, features = random_conv(name), random_tensor(2, 4, 5, 6)
    norm = patch_norm(features, conv.kernel_size, geometry_of(name))
    expected, _, _ = measure(features, conv)
    first_of_group = expected[:, :: conv.out_channels // conv.groups]
    assert_close(norm, first_of_group, **FLOAT64)
    assert norm.shape[2:] == conv(features).shape[2:]


@pytest.mark.parametrize("place", PLACES)
def test_norm_is_that_of_the_columns_of_unfold(place: str) -> None:
    geometry, features = PLACES[place], random_tensor(2, 4, 6, 5)
    padding = (1, 1) if geometry.padding == "same" else geometry.padding
    columns = F.unfold(features, 3, geometry.dilation, padding, geometry.stride)
    norm = patch_norm(features, (3, 3), geometry)
    grouped = columns.unflatten(1, (geometry.groups, -1)).norm(dim=2)
    assert_close(norm.flatten(2), grouped, **FLOAT64)


@by_dtype
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)], ids=str)
def test_a_zero_patch_has_a_negligible_norm_and_a_gradient_of_zero(
    kernel: tuple[int, int], groups: int, dtype: torch.dtype
) -> None:
    features = torch.zeros(1, 4, 5, 5, dtype=dtype, requires_grad=True)
    norm = patch_norm(features, kernel, Geometry(groups=groups))
    norm.sum().backward()
    assert_close(norm, torch.full_like(norm, NEGLIGIBLE))
    assert_close(features.grad, torch.zeros_like(features), **EXACT)


@by_dtype
def test_norm_is_in_float32_or_better_and_the_input_left_alone(dtype: torch.dtype) -> None:
    features = random_tensor(2, 4, 5, 5).to(dtype)
    before = features.clone()
    for groups in (1, 2, 4):
        norm = patch_norm(features, (3, 3), Geometry(groups=groups))
        assert norm.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(features, before, **EXACT)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 512])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_norm_is_accumulated_in_float32(dtype: torch.dtype, groups: int, autocast: bool) -> None:
    features = random_tensor(1, 512, 6, 6).to(dtype)
    geometry = Geometry(padding=(1, 1), groups=groups)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        norm = patch_norm(features, (3, 3), geometry)
    wide = patch_norm(features.double(), (3, 3), geometry)
    assert norm.dtype == torch.float32
    assert ((norm - wide).abs() / wide).max() < 1e-5


@pytest.mark.parametrize("groups", [1, 512])
def test_norm_of_large_float16_features_does_not_overflow(groups: int) -> None:
    features = torch.full((1, 512, 4, 4), 300.0, dtype=torch.float16)
    norm = patch_norm(features, (3, 3), Geometry(groups=groups))
    assert_close(norm, torch.full_like(norm, 300 * (512 * 9 / groups) ** 0.5))


@even_same
@pytest.mark.parametrize("place", PLACES)
def test_gradient_of_the_norm_agrees_with_finite_differences(place: str) -> None:
    features = random_tensor(1, 4, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: patch_norm(x, (2, 2), PLACES[place]), features)


def test_norms_that_are_not_finite_stay_so_and_harm_no_neighbor() -> None:
    features = random_tensor(1, 4, 6, 6)
    expected = patch_norm(features, (2, 2), PLAIN)
    features[0, 1, 0, 0] = torch.nan
    norm = patch_norm(features, (2, 2), PLAIN)
    assert norm[0, 0, 0, 0].isnan()
    assert_close(norm.flatten()[1:], expected.flatten()[1:], **EXACT)


@pytest.mark.parametrize("place", PLACES)
def test_without_functions_it_is_the_convolution_exactly(place: str) -> None:
    features, geometry = random_tensor(2, 4, 5, 6), PLACES[place]
    weight = filters(geometry)
    response = decoupled_conv2d(features, weight, Decoupling(), geometry)
    assert_close(response, F.conv2d(features, weight, None, *geometry), **EXACT)


@every_magnitude
@pytest.mark.parametrize("place", PLACES)
def test_short_cuts_change_nothing(place: str, magnitude: MagnitudeRow) -> None:
    features, geometry = random_tensor(2, 4, 5, 6), PLACES[place]
    whole = decoupling(magnitude, ANGULAR_ACTIVATIONS["cosine"])
    shorter = [whole._replace(angular=None)]
    if magnitude.name == "linear":
        shorter += [whole._replace(magnitude=None), Decoupling()]
    expected = decoupled_conv2d(features, filters(geometry), whole, geometry)
    for functions in shorter:
        got = decoupled_conv2d(features, filters(geometry), functions, geometry)
        assert_close(got, expected, **FLOAT64)


@every_pair(place=list(PLACES))
def test_norms_of_the_filters_multiply_the_result(
    place: str, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    features, geometry = random_tensor(2, 4, 5, 6), PLACES[place]
    scales = torch.tensor([0.1, 1.0, 3.0, 50.0], dtype=torch.float64)[:, None, None]
    weight, functions = filters(geometry), decoupling(magnitude, angular)
    expected = scales * decoupled_conv2d(features, weight, functions, geometry)
    got = decoupled_conv2d(features, scales[..., None] * weight, functions, geometry)
    assert_close(got, expected, **FLOAT64)


@every_pair(dtype=DTYPES)
def test_dtype_is_that_of_the_convolution_and_the_inputs_are_left_alone(
    dtype: torch.dtype, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    features, weight = random_tensor(2, 4, 5, 6).to(dtype), filters().to(dtype)
    before = features.clone(), weight.clone()
    response = decoupled_conv2d(features, weight, decoupling(magnitude, angular), PLAIN)
    assert response.dtype == dtype
    assert_close((features, weight), before, **EXACT)


@every_pair(dtype=HALVES)
def test_half_precision_is_close(
    dtype: torch.dtype, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    features, weight = random_tensor(2, 4, 5, 6).to(dtype), filters().to(dtype)
    functions = decoupling(magnitude, angular)
    got = decoupled_conv2d(features, weight, functions, PLAIN)
    wide = decoupled_conv2d(features.double(), weight.double(), functions, PLAIN)
    scale = wide.abs().max()
    assert_close(got / scale.to(dtype), (wide / scale).to(dtype), **HALF)


@every_pair(dtype=[torch.float64, *HALVES], short=[False, True])
def test_a_zero_image_gives_zero_with_a_finite_gradient(
    short: bool, dtype: torch.dtype, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    functions = decoupling(magnitude, angular)
    functions = functions._replace(angular=None) if short else functions
    features = torch.zeros(1, 4, 4, 4, dtype=dtype, requires_grad=True)
    weight = filters().to(dtype).requires_grad_()
    response = decoupled_conv2d(features, weight, functions, PLAIN)
    response.sum().backward()
    assert (response == 0).all()
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() < 50  # slope of h at zero times slope of g, four patches
    assert (weight.grad == 0).all()


@every_pair(place=list(PLACES))
def test_zero_patches_give_zero_and_harm_no_neighbor(
    place: str, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    geometry, functions = PLACES[place], decoupling(magnitude, angular)
    features = random_tensor(1, 4, 6, 7).relu()
    features[..., :4] = 0
    features.requires_grad_()
    weight = filters(geometry, side=3).requires_grad_()
    response = decoupled_conv2d(features, weight, functions, geometry)
    response.square().sum().backward()
    assert (response[..., 0] == 0).all()
    assert (response[..., -1] != 0).any()
    assert features.grad.isfinite().all()
    assert weight.grad.isfinite().all()


@every_pair(dtype=DTYPES, sign=[1, -1])
def test_patches_along_a_filter_give_all_of_the_magnitude(
    sign: int, dtype: torch.dtype, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    unit = WEIGHTINGS["none"].function(filters())
    weight = unit.to(dtype).clone().requires_grad_()
    features = (3 * sign * unit).to(dtype).requires_grad_()  # four images of one patch
    functions = decoupling(magnitude, angular)
    response = decoupled_conv2d(features, weight, functions, PLAIN).squeeze((2, 3))
    response.sum().backward()
    norm = torch.tensor(3.0, dtype=torch.float64)
    expected = sign * functions.strength(norm, functions.radius())
    most = {torch.float64: 1e-6, torch.float32: 1e-3}.get(dtype, 0.1)  # θ is a root of 1 − cos θ
    assert (response.diagonal() / expected - 1).abs().max() < most
    assert features.grad.isfinite().all()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in ANGULAR_ACTIVATIONS.names if name != "cosine"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_a_cosine_that_rounding_takes_beyond_1_counts_as_1(dtype: torch.dtype, name: str) -> None:
    unit = WEIGHTINGS["none"].function(random_tensor(200, 4, 3, 3)).to(dtype)
    functions = decoupling(MAGNITUDES["sphere"], ANGULAR_ACTIVATIONS[name])
    directions = decoupled_conv2d(3 * unit, unit, functions, PLAIN).squeeze((2, 3)).float()
    lengths = unit.double().flatten(1).norm(dim=1)  # of rounded filters
    assert (directions / lengths).max() <= 1 + torch.finfo(dtype).eps


@every_pair(dtype=DTYPES)
def test_a_zero_filter_gives_zero_with_a_finite_gradient(
    dtype: torch.dtype, angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    features, weight = random_tensor(2, 4, 5, 6).to(dtype), filters().to(dtype)
    weight[1] = 0
    features.requires_grad_()
    weight.requires_grad_()
    response = decoupled_conv2d(features, weight, decoupling(magnitude, angular), PLAIN)
    response.sum().backward()
    assert (response[:, 1] == 0).all()
    assert response.isfinite().all()
    assert features.grad.isfinite().all()
    assert weight.grad.isfinite().all()
    assert weight.grad.abs().max() < 1e3


@pytest.mark.parametrize("place", PLACES)
@every_angular
def test_gradient_agrees_with_finite_differences_in_every_place(
    angular: AngularRow, place: str
) -> None:
    geometry, functions = PLACES[place], decoupling(MAGNITUDES["tanh"], angular)
    features = random_tensor(1, 4, 3, 3).requires_grad_()
    weight = filters(geometry).requires_grad_()

    def operator(x: Tensor, w: Tensor) -> Tensor:
        return decoupled_conv2d(x, w, functions, geometry)

    assert torch.autograd.gradcheck(operator, (features, weight))


@every_pair()
def test_large_float16_features_do_not_overflow(
    angular: AngularRow, magnitude: MagnitudeRow
) -> None:
    features = torch.full((1, 512, 3, 3), 300.0, dtype=torch.float16)
    weight = WEIGHTINGS["none"].function(random_tensor(2, 512, 3, 3)).half()
    response = decoupled_conv2d(features, weight, decoupling(magnitude, angular), PLAIN)
    assert response.isfinite().all()
