"""Compact bilinear pooling and what follows it."""

import pytest
import torch
from tolerances import EXACT, FLOAT64
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ShapeError
from covtool.ops.power_normalization import shifted_signed_sqrt, signed_sqrt, unit_length
from covtool.ops.second_order import second_moments
from covtool.ops.sketch import CountSketch
from covtool.ops.tensor_sketch import compact_bilinear_pool

FORMS = ["fourier", "moments"]


def sketches(channels: int, size: int, seed: int = 0) -> tuple[CountSketch, CountSketch]:
    return tuple(CountSketch.draw(channels, size, seed=2 * seed + i) for i in range(2))


def maps(channels: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, 3, 2, generator=generator, dtype=torch.float64)


def circular_convolution(a: Tensor, b: Tensor) -> Tensor:
    size = len(a)
    return torch.stack([sum(a[i] * b[(k - i) % size] for i in range(size)) for k in range(size)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [7, 8])
def test_equals_the_convolution_of_two_sketches_at_each_position(form: str, size: int) -> None:
    features, (first, second) = maps(), sketches(4, size)
    for image, pooled in zip(
        features, compact_bilinear_pool(features, first, second, form=form), strict=True
    ):
        rows = image.flatten(1).T
        parts = zip(first.apply(rows), second.apply(rows), strict=True)
        expected = torch.stack([circular_convolution(a, b) for a, b in parts]).mean(dim=0)
        assert_close(pooled, expected, **FLOAT64)


def test_inner_products_are_on_average_those_of_the_matrices() -> None:
    features = maps()
    moments = second_moments(features).flatten(1)
    expected = (moments[0] @ moments[1]).item()
    found = torch.tensor(
        [
            (pooled[0] @ pooled[1]).item()
            for seed in range(400)
            for pooled in [compact_bilinear_pool(features, *sketches(4, 16, seed))]
        ]
    )
    assert abs(found.mean() - expected) < 4 * found.std() / len(found) ** 0.5


@pytest.mark.parametrize("form", FORMS)
def test_gradient_agrees_with_finite_differences(form: str) -> None:
    first, second = sketches(4, 5)

    def pool(features: Tensor) -> Tensor:
        return compact_bilinear_pool(features, first, second, form=form)

    assert torch.autograd.gradcheck(pool, maps().requires_grad_())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_and_computed_in_float32(form: str, dtype: torch.dtype) -> None:
    features, hashes = maps().to(dtype), sketches(4, 8)
    pooled = compact_bilinear_pool(features, *hashes, form=form)
    assert pooled.dtype == dtype
    precise = compact_bilinear_pool(features.float(), *hashes, form=form)
    assert_close(pooled, precise.to(dtype), **EXACT)


@pytest.mark.parametrize("form", FORMS)
def test_autocast_changes_nothing(form: str) -> None:
    features, hashes = maps().float(), sketches(4, 8)
    expected = compact_bilinear_pool(features, *hashes, form=form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compact_bilinear_pool(features, *hashes, form=form)
    assert_close(found, expected, **EXACT)


def test_input_is_not_modified_and_the_same_hashes_give_the_same_sketch() -> None:
    features, hashes = maps(), sketches(4, 8)
    before = features.clone()
    results = [compact_bilinear_pool(features, *hashes) for _ in range(2)]
    assert_close(*results, **EXACT)
    assert_close(features, before, **EXACT)


def test_what_is_no_map_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, H, W\)"):
        compact_bilinear_pool(torch.rand(2, 3, 4), *sketches(3, 4))


def test_signed_root_squares_back_and_keeps_signs() -> None:
    values = torch.tensor([-4.0, -1e-3, 0.0, 1e-3, 9.0], dtype=torch.float64)
    roots = signed_sqrt(values)
    assert_close(roots * roots.abs(), values, rtol=1e-6, atol=1e-12)
    assert roots[2] == 0


def test_signed_root_has_a_finite_slope_at_zero() -> None:
    values = torch.zeros(3, requires_grad=True)
    signed_sqrt(values).sum().backward()
    assert values.grad.isfinite().all()


def test_published_signed_root_keeps_signs_and_zero_and_adds_its_threshold() -> None:
    values = torch.tensor([-4.0, -1e-8, 0.0, 1e-8, 9.0], dtype=torch.float64)
    roots = shifted_signed_sqrt(values, thresh=1e-8)
    assert_close(roots.square(), torch.where(values == 0, 0.0, values.abs() + 1e-8))
    assert_close(roots.sign(), values.sign(), **EXACT)
    half = shifted_signed_sqrt(values.half(), thresh=1e-8)
    assert half.dtype == torch.float16
    assert half.isfinite().all()


def test_unit_length_and_a_row_of_zeros() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    unit = unit_length(rows)
    assert_close(unit.detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    unit.sum().backward()
    assert rows.grad.isfinite().all()
    assert_close(unit_length(7 * rows).detach(), unit.detach(), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalizations_stay_finite_in_half_precision(dtype: torch.dtype) -> None:
    assert_close(signed_sqrt(torch.zeros(3, dtype=dtype)), torch.zeros(3, dtype=dtype))
    unit = unit_length(torch.full((1, 4), 300, dtype=dtype))  # 90,000 is beyond float16
    assert_close(unit, torch.full((1, 4), 0.5, dtype=dtype))


def test_normalizations_have_the_gradient_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(signed_sqrt, rows)
    assert torch.autograd.gradcheck(unit_length, rows)
