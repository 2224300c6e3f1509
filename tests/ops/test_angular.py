"""Laws that every angular activation of the table passes, and the arc sine under them."""

import math

import pytest
import torch
from paper_operator import ANGULAR, each
from tolerances import EXACT, FLOAT32, FLOAT32_CHAIN, FLOAT64
from torch import Tensor
from torch.testing import assert_close

from covtool.ops.angular import ANGULAR_ACTIVATIONS, AngularRow, arc_sine

every = pytest.mark.parametrize("row", list(ANGULAR_ACTIVATIONS), ids=lambda row: row.name)
K = [0.05, 0.3, 1.0, 10.0]
MARGIN = {torch.float32: 2.0**-20, torch.float64: 2.0**-40}
STATED_ERROR = {torch.float32: 4e-4, torch.float64: 4e-7}
by_dtype = pytest.mark.parametrize("dtype", MARGIN, ids=str)


def thetas(count: int = 181) -> Tensor:
    return torch.linspace(0, math.pi, count, dtype=torch.float64)


def near_the_ends(dtype: torch.dtype) -> Tensor:
    """Cosines of both ends, a hundred neighboring numbers each, then some within the margin."""
    neighbors = [torch.tensor(1.0, dtype=dtype)]
    for _ in range(100):
        neighbors.append(torch.nextafter(neighbors[-1], torch.zeros((), dtype=dtype)))
    within = 1 - MARGIN[dtype] * torch.linspace(0, 2, 81, dtype=dtype)
    cosines = torch.cat([torch.stack(neighbors), within]).unique()
    return torch.cat([-cosines.flip(0), cosines])


@every
@pytest.mark.parametrize("k", K)
def test_it_is_the_papers_function(row: AngularRow, k: float) -> None:
    theta = thetas()
    got = row.function(theta.cos(), k)
    assert_close(got, each(ANGULAR[row.name], theta, k), **FLOAT64)


@every
@by_dtype
def test_it_goes_from_1_over_0_to_minus_1(row: AngularRow, dtype: torch.dtype) -> None:
    got = row.function(torch.tensor([1.0, 0.0, -1.0], dtype=dtype), 0.3)
    assert_close(got, torch.tensor([1.0, 0.0, -1.0], dtype=dtype), rtol=0, atol=1e-7)
    assert got.dtype == dtype


@every
@pytest.mark.parametrize("k", K)
def test_it_is_odd_around_a_right_angle(row: AngularRow, k: float) -> None:
    cosines = torch.cat([thetas().cos(), near_the_ends(torch.float64)])
    assert_close(row.function(-cosines, k), -row.function(cosines, k), **FLOAT64)


@every
@by_dtype
def test_it_never_increases_with_the_angle(row: AngularRow, dtype: torch.dtype) -> None:
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)]).unique()
    rounding = 4 * torch.finfo(dtype).eps
    for k in K:
        values = row.function(cosines, k)
        assert (values.diff() >= -rounding).all()
        assert values.abs().max() <= 1 + rounding


@every
def test_k_counts_only_where_the_row_says_so(row: AngularRow) -> None:
    cosines = thetas()[1:-1].cos()
    first, second = row.function(cosines, 0.3), row.function(cosines, 0.5)
    assert torch.equal(first, second) == (not row.takes_k)


@every
@by_dtype
def test_gradient_is_finite_everywhere(row: AngularRow, dtype: torch.dtype) -> None:
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)]).requires_grad_()
    for k in K:
        (slopes,) = torch.autograd.grad(row.function(cosines, k).sum(), cosines)
        assert slopes.isfinite().all()
        assert (slopes >= 0).all()


@every
def test_gradient_agrees_with_finite_differences(row: AngularRow) -> None:
    cosines = torch.tensor([-0.97, -0.4, 0.2, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: row.function(c, 0.3), cosines)


@every
def test_the_input_is_left_alone(row: AngularRow) -> None:
    cosines = near_the_ends(torch.float64)
    before = cosines.clone()
    row.function(cosines, 0.3)
    assert_close(cosines, before, **EXACT)
    assert row.summary.endswith(".")


@every
@by_dtype
@pytest.mark.parametrize("k", K)
def test_slope_of_the_row_is_the_derivative(row: AngularRow, dtype: torch.dtype, k: float) -> None:
    end = 1 - MARGIN[dtype]
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)]).requires_grad_()
    values = row.function(cosines, k)
    (expected,) = torch.autograd.grad(values.sum(), cosines)
    with torch.no_grad():
        slopes = row.slope(cosines, values, k)
    # torch's clamp has no slope at its very bounds.
    elsewhere = (cosines.abs() != end) & (cosines.abs() != 1)
    tolerance = FLOAT64 if dtype == torch.float64 else FLOAT32_CHAIN
    # 1 − tanh² is known to an ulp of 1, whichever way it is written.
    loose = {**tolerance, "atol": max(tolerance["atol"], 1e-12 / k)}
    away = elsewhere & (cosines.abs() < 1 - 1e-3)
    assert_close(slopes[away], expected[away], **loose)
    near = (slopes - expected)[elsewhere].abs().max() / expected.abs().max()
    assert near < 1e-3


@by_dtype
def test_the_arc_sine_is_a_right_angle_at_both_ends_and_beyond(dtype: torch.dtype) -> None:
    end = torch.tensor([1.0, -1.0, 1 + 1e-6, -1 - 1e-6], dtype=dtype)
    expected = math.pi / 2 * end.sign()
    assert_close(arc_sine(end), expected, rtol=torch.finfo(dtype).eps, atol=0)


@by_dtype
def test_the_arc_sine_is_that_of_torch_away_from_the_ends(dtype: torch.dtype) -> None:
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)])
    inside = cosines[cosines.abs() <= 1 - MARGIN[dtype]]
    assert_close(arc_sine(inside), torch.asin(inside), **EXACT)
    assert_close(arc_sine(inside), math.pi / 2 - torch.acos(inside), rtol=0, atol=3e-7)


@by_dtype
def test_the_arc_sine_is_off_by_less_than_is_stated(dtype: torch.dtype) -> None:
    cosines = near_the_ends(dtype)
    exact = each(math.asin, cosines)
    error = (arc_sine(cosines).double() - exact).abs().max()
    assert STATED_ERROR[dtype] / 2 < error < STATED_ERROR[dtype]


@by_dtype
def test_the_arc_sine_never_falls_with_the_cosine(dtype: torch.dtype) -> None:
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)]).unique()
    assert (arc_sine(cosines).diff() >= 0).all()


@by_dtype
def test_the_slope_is_never_more_than_that_of_the_ramp(dtype: torch.dtype) -> None:
    cosines = near_the_ends(dtype).requires_grad_()
    arc_sine(cosines).sum().backward()
    assert cosines.grad.abs().max() <= 1.01 * math.sqrt(2 / MARGIN[dtype])


@pytest.mark.parametrize("k", K)
def test_sigmoid_is_the_quotient_of_exponentials_in_float32_too(k: float) -> None:
    theta = thetas()[1:-1]
    got = ANGULAR_ACTIVATIONS["sigmoid"].function(theta.cos().float(), k)
    assert_close(got, each(ANGULAR["sigmoid"], theta, k).float(), **FLOAT32)


def test_a_smaller_k_is_steeper_at_a_right_angle_and_a_large_one_gives_the_line() -> None:
    sigmoid, near = ANGULAR_ACTIVATIONS["sigmoid"].function, torch.tensor(0.01, dtype=torch.float64)
    values = [sigmoid(near, k) for k in K]
    assert values == sorted(values, reverse=True)
    line = ANGULAR_ACTIVATIONS["linear"].function(thetas().cos(), 0.3)
    assert_close(sigmoid(thetas().cos(), 1e3), line, rtol=1e-5, atol=1e-6)


@by_dtype
@pytest.mark.parametrize("k", [1e-6, 1e-3, 1e6])
def test_sigmoid_is_finite_where_the_exponentials_overflow(k: float, dtype: torch.dtype) -> None:
    cosines = torch.cat([thetas().cos().to(dtype), near_the_ends(dtype)]).requires_grad_()
    values = ANGULAR_ACTIVATIONS["sigmoid"].function(cosines, k)
    values.sum().backward()
    assert values.isfinite().all()
    assert cosines.grad.isfinite().all()
