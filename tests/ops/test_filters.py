"""Weightings, weighted gradients, standardization, projection and orthogonality of filters."""

import pytest
import torch
from paper_operator import WEIGHTING, each, random_tensor
from timm.layers import StdConv2d
from tolerances import EXACT, FLOAT32, FLOAT64, HALF
from torch import Tensor
from torch.testing import assert_close

from covtool.ops.filters import (
    WEIGHTINGS,
    WeightingRow,
    filter_norm,
    gradient_times_norm,
    orthogonality_penalty,
    project_filters,
    standardize_filters,
)

every = pytest.mark.parametrize("row", list(WEIGHTINGS), ids=lambda row: row.name)
HALVES = [torch.float16, torch.bfloat16]
DTYPES = [torch.float64, torch.float32, *HALVES]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
WIDE, TALL, SQUARE = (3, 2, 2, 3), (9, 2, 2, 1), (4, 1, 2, 2)
by_shape = pytest.mark.parametrize("shape", [WIDE, TALL, SQUARE, (5, 3, 1, 1), (4, 1, 3, 3)])
OPERATIONS = {
    **{row.name: row.function for row in WEIGHTINGS},
    "weighted gradient": gradient_times_norm,
    "standardized": standardize_filters,
    "projected": lambda weight: project_filters(weight, 2.0),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def with_zero_filter(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = WIDE) -> Tensor:
    weight = random_tensor(*shape).to(dtype)
    weight[1] = 0
    return weight


def norms(weight: Tensor) -> Tensor:
    return weight.double().square().sum(dim=(1, 2, 3)).sqrt()


@every
@by_shape
def test_it_keeps_directions_and_makes_the_papers_norms(
    row: WeightingRow, shape: tuple[int, ...]
) -> None:
    weight = random_tensor(*shape)
    got = row.function(weight)
    assert_close(norms(got), each(WEIGHTING[row.name], norms(weight)), **FLOAT64)
    cosines = torch.cosine_similarity(got.flatten(1), weight.flatten(1))
    assert_close(cosines, torch.ones_like(cosines), **FLOAT64)


@every_operation
@by_dtype
def test_dtype_is_kept_and_the_input_left_alone(name: str, dtype: torch.dtype) -> None:
    weight = random_tensor(*WIDE).to(dtype)
    before = weight.clone()
    got = OPERATIONS[name](weight)
    assert got.dtype == dtype
    assert got.shape == weight.shape
    assert_close(weight, before, **EXACT)
    if dtype in HALVES:
        wide = OPERATIONS[name](weight.double())
        assert_close(got.double(), wide, **HALF)


@every_operation
@by_dtype
def test_a_zero_filter_stays_zero_and_harms_no_neighbor(name: str, dtype: torch.dtype) -> None:
    weight = with_zero_filter(dtype).requires_grad_()
    got = OPERATIONS[name](weight)
    got.sum().backward()
    assert (got[1] == 0).all()
    assert got.isfinite().all()
    assert weight.grad[[0, 2]].isfinite().all()
    if dtype != torch.float16 or name != "none":  # 1/‖w‖ is beyond float16
        assert weight.grad[1].isfinite().all()


@every_operation
def test_other_filters_have_no_part_in_it(name: str) -> None:
    weight = random_tensor(*WIDE)
    assert_close(OPERATIONS[name](weight[1:2]), OPERATIONS[name](weight)[1:2], **FLOAT64)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "weighted gradient"])
@by_shape
def test_gradient_agrees_with_finite_differences(name: str, shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(OPERATIONS[name], random_tensor(*shape).requires_grad_())


@by_shape
def test_norm_is_that_of_each_filter(shape: tuple[int, ...]) -> None:
    weight = random_tensor(*shape)
    assert filter_norm(weight).shape == (shape[0], 1, 1, 1)
    assert_close(filter_norm(weight).flatten(), norms(weight), **FLOAT64)


@pytest.mark.parametrize("factor", [1e-3, 5.0, 1e3])
def test_without_weighting_the_scale_of_a_filter_does_not_count(factor: float) -> None:
    weight, none = random_tensor(*WIDE), WEIGHTINGS["none"].function
    assert_close(none(factor * weight), none(weight), **FLOAT64)


def test_linear_weighting_is_the_filter_itself() -> None:
    weight = random_tensor(*WIDE)
    assert WEIGHTINGS["linear"].function(weight) is weight


def test_weighted_gradient_is_the_norm_times_the_gradient_and_the_value_the_same() -> None:
    plain, weighted = (random_tensor(*WIDE).requires_grad_() for _ in range(2))
    incoming = random_tensor(*WIDE, seed=1)
    plain.backward(incoming)
    result = gradient_times_norm(weighted)
    result.backward(incoming)
    assert_close(result, plain, **EXACT)
    assert_close(weighted.grad, incoming * norms(plain.detach())[:, None, None, None], **FLOAT64)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_weighted_gradient_of_a_direction_does_not_fall_with_the_norm(factor: float) -> None:
    weight = (factor * random_tensor(*WIDE)).requires_grad_()
    direction = WEIGHTINGS["none"].function(gradient_times_norm(weight))
    (direction * random_tensor(*WIDE, seed=1)).sum().backward()
    unit = WEIGHTINGS["none"].function(random_tensor(*WIDE)).requires_grad_()
    (WEIGHTINGS["none"].function(unit) * random_tensor(*WIDE, seed=1)).sum().backward()
    assert_close(weight.grad, unit.grad, rtol=1e-9, atol=1e-11)


@by_shape
def test_standardized_filters_have_mean_0_and_variance_1(shape: tuple[int, ...]) -> None:
    rows = standardize_filters(3 * random_tensor(*shape) + 2, eps=0).flatten(1)
    assert_close(rows.mean(dim=1), torch.zeros(len(rows), dtype=rows.dtype), **FLOAT64)
    variance = rows.square().mean(dim=1)
    assert_close(variance, torch.ones(len(rows), dtype=rows.dtype), **FLOAT64)


def timms_filters(weight: Tensor, eps: float) -> Tensor:
    """What timm's layer answers to a one at each place of the kernel."""
    filters, fan_in = weight.flatten(1).shape
    conv = StdConv2d(fan_in, filters, 1, eps=eps, dtype=weight.dtype)
    conv.weight.data.copy_(weight.reshape(filters, fan_in, 1, 1))
    units = torch.eye(fan_in, dtype=weight.dtype)[:, :, None, None]
    return conv(units).squeeze((2, 3)).mT.reshape(weight.shape)


@by_shape
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_standardized_filters_are_timms(shape: tuple[int, ...], eps: float) -> None:
    weight = 0.1 * random_tensor(*shape) + 0.05
    assert_close(standardize_filters(weight, eps=eps), timms_filters(weight, eps), **FLOAT64)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("scale", [1e-1, 1e-3, 1e-4])
def test_small_filters_are_standardized_as_well_in_half_precision(
    dtype: torch.dtype, scale: float
) -> None:
    weight = (scale * random_tensor(4, 16, 3, 3)).to(dtype)
    wide = standardize_filters(weight.double())
    error = (standardize_filters(weight).double() - wide).norm() / wide.norm()
    assert error < torch.finfo(dtype).eps


def test_standardized_constant_filters_are_zero() -> None:
    weight = torch.full(WIDE, 0.7, dtype=torch.float64, requires_grad=True)
    got = standardize_filters(weight)
    got.square().sum().backward()
    assert_close(got, torch.zeros_like(got), rtol=0, atol=1e-9)
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("norm", [0.5, 1.0, 10.0])
@by_dtype
def test_projection_sets_the_norms_and_keeps_the_directions(
    norm: float, dtype: torch.dtype
) -> None:
    weight = with_zero_filter(dtype)
    got = project_filters(weight, norm)
    close = HALF if dtype in HALVES else FLOAT64 if dtype == torch.float64 else FLOAT32
    assert_close(norms(got), norm * torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), **close)
    cosines = torch.cosine_similarity(got.double().flatten(1), weight.double().flatten(1))
    assert_close(cosines, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), **close)
    assert_close(project_filters(got, norm), got, **close)


def direct_penalty(weight: Tensor) -> Tensor:
    """Pair by pair; a zero filter has a cosine of zero with itself."""
    rows = weight.flatten(1)
    size = rows.square().sum(dim=1, keepdim=True).sqrt()
    unit = torch.where(size > 0, rows / size.clamp_min(1e-300), 0)
    terms = [
        (unit[i] @ unit[j] - float(i == j)).square()
        for i in range(len(rows))
        for j in range(len(rows))
    ]
    return torch.stack(terms).sum() / 2


@by_shape
def test_penalty_is_half_the_squared_distance_to_the_identity(shape: tuple[int, ...]) -> None:
    ours, theirs = (random_tensor(*shape).requires_grad_() for _ in range(2))
    penalty, expected = orthogonality_penalty(ours), direct_penalty(theirs)
    penalty.backward()
    expected.backward()
    assert_close(penalty, expected, **FLOAT64)
    assert_close(ours.grad, theirs.grad, **FLOAT64)


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_penalty_counts_a_zero_filter_in_the_same_way_in_both_forms(shape: tuple[int, ...]) -> None:
    weight = with_zero_filter(shape=shape).requires_grad_()
    penalty = orthogonality_penalty(weight)
    penalty.backward()
    assert_close(penalty, direct_penalty(weight.detach()), **FLOAT64)
    assert (weight.grad[1] == 0).all()
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_penalty_is_zero_for_orthogonal_filters_of_any_norm(dtype: torch.dtype) -> None:
    for rows in (4, 3, 1):
        basis = torch.linalg.qr(random_tensor(4, 4))[0][:rows].reshape(rows, 1, 2, 2)
        weight = (basis * torch.logspace(-3, 3, rows)[:, None, None, None]).to(dtype)
        assert orthogonality_penalty(weight) < 10 * torch.finfo(dtype).eps ** 2 * rows


def test_penalty_of_equal_filters_counts_every_pair() -> None:
    for filters in (3, 7):  # of fan-in 4: both forms
        weight = torch.ones(filters, 1, 2, 2, dtype=torch.float64)
        expected = torch.tensor(filters * (filters - 1) / 2, dtype=torch.float64)
        assert_close(orthogonality_penalty(weight), expected, **FLOAT64)


@by_shape
def test_penalty_ignores_the_scale_of_each_filter_and_its_gradient_has_no_part_along_it(
    shape: tuple[int, ...],
) -> None:
    weight = random_tensor(*shape).requires_grad_()
    scales = torch.logspace(-2, 2, shape[0], dtype=torch.float64)[:, None, None, None]
    penalty = orthogonality_penalty(weight)
    assert_close(orthogonality_penalty(scales * weight), penalty, **FLOAT64)
    penalty.backward()
    along = (weight.grad * weight).sum(dim=(1, 2, 3))
    assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


@by_shape
def test_gradient_of_the_penalty_agrees_with_finite_differences(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(orthogonality_penalty, random_tensor(*shape).requires_grad_())


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("filters", [64, 512])
def test_penalty_is_computed_in_full_precision_under_autocast(
    filters: int, dtype: torch.dtype
) -> None:
    weight = (random_tensor(filters, 64, 1, 1) + 1).float()  # filters that are alike
    with torch.autocast("cpu", dtype=dtype):
        penalty = orthogonality_penalty(weight)
    assert_close(penalty, orthogonality_penalty(weight.double()).float(), **FLOAT32)
    assert orthogonality_penalty(weight.to(dtype)).isfinite()


def test_filters_of_different_groups_are_not_compared() -> None:
    weight = torch.randn(12, 3, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    for groups in (1, 2, 4):
        each = sum(orthogonality_penalty(part) for part in weight.chunk(groups))
        assert_close(orthogonality_penalty(weight, groups=groups), each, **FLOAT64)
    assert orthogonality_penalty(weight, groups=12) < 1e-12


@pytest.mark.parametrize("name", WEIGHTINGS.names)
def test_gradient_of_a_zero_filter_is_no_larger_than_its_neighbors(name: str) -> None:
    weight = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    weight.requires_grad_()
    WEIGHTINGS[name].function(weight).sum().backward()
    sizes = weight.grad.flatten(1).norm(dim=1)
    assert sizes[1] < 10 * sizes[[0, 2]].max()
