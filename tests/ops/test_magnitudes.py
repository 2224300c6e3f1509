"""Laws that every magnitude function of the table passes."""

import pytest
import torch
from paper_operator import MAGNITUDE, each
from tolerances import EXACT, FLOAT64
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import UnknownVariantError
from covtool.ops.magnitudes import MAGNITUDES, NEGLIGIBLE, MagnitudeRow

every = pytest.mark.parametrize("row", list(MAGNITUDES), ids=lambda row: row.name)
RADII = [0.3, 1.0, 5.0]
NORMS = torch.linspace(0, 20, 401, dtype=torch.float64)


def h(row: MagnitudeRow, norm: Tensor, radius: float = 1.0, beta: float | None = None) -> Tensor:
    radii = torch.tensor(radius, dtype=norm.dtype)
    return row.function(norm, radii, beta if beta is not None else row.beta or 0.0)


@every
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.7])
@pytest.mark.parametrize("radius", RADII)
def test_it_is_the_papers_function(row: MagnitudeRow, radius: float, beta: float) -> None:
    expected = each(MAGNITUDE[row.name], NORMS, radius, beta)
    assert_close(h(row, NORMS, radius, beta), expected, **FLOAT64)


@every
@pytest.mark.parametrize("radius", RADII)
def test_zero_gives_zero_and_more_never_gives_less(row: MagnitudeRow, radius: float) -> None:
    values = h(row, NORMS, radius)
    assert values[0] == 0
    assert (values.diff() >= 0).all()
    assert values[-1] > 0


@every
def test_a_zero_patch_has_a_negligible_magnitude(row: MagnitudeRow) -> None:
    for dtype in (torch.float32, torch.float64):
        norm = torch.tensor(NEGLIGIBLE**2, dtype=dtype).sqrt()  # as patch_norm makes it
        assert h(row, norm, beta=1.0) <= 2.1 * NEGLIGIBLE


@every
def test_bounded_ones_approach_1_and_the_others_exceed_it(row: MagnitudeRow) -> None:
    for radius in RADII:
        far = h(row, radius * torch.tensor([0.5, 50.0], dtype=torch.float64), radius)
        if row.bounded:
            assert_close(far[1].item(), 1.0)
            assert (h(row, NORMS, radius) <= 1).all()
        else:
            assert h(row, torch.tensor(1e3), radius) > 1


@every
@pytest.mark.parametrize("radius", RADII)
def test_it_is_continuous_at_the_radius(row: MagnitudeRow, radius: float) -> None:
    below, at, above = h(
        row, radius * torch.tensor([1 - 1e-9, 1.0, 1 + 1e-9], dtype=torch.float64), radius
    )
    assert_close(below, at, rtol=1e-8, atol=0)
    assert_close(above, at, rtol=1e-8, atol=0)


# The power of t that comes out where norms and radius (and the mixed one's β) are multiplied by t.
DEGREE = {"sphere": 0, "ball": 0, "tanh": 0, "linear": 1, "segmented": 1, "log": 0, "mixed": 1}


@every
@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_it_is_homogeneous_in_norm_and_radius(row: MagnitudeRow, factor: float) -> None:
    beta = factor * 0.8 if row.name == "mixed" else 0.8
    got = h(row, factor * NORMS, factor * 2.0, beta)
    assert_close(got, factor ** DEGREE[row.name] * h(row, NORMS, 2.0, 0.8), **FLOAT64)


@every
def test_it_depends_on_radius_and_beta_only_where_the_row_says_so(row: MagnitudeRow) -> None:
    values = h(row, NORMS, 2.0, 0.5)
    assert torch.equal(values, h(row, NORMS, 3.0, 0.5)) == (not row.takes_radius)
    assert torch.equal(values, h(row, NORMS, 2.0, 0.7)) == (row.beta is None)


@every
def test_a_radius_for_each_filter_broadcasts(row: MagnitudeRow) -> None:
    norm, radii = NORMS[:24].reshape(2, 1, 3, 4), torch.tensor(RADII, dtype=NORMS.dtype)
    together = row.function(norm, radii[:, None, None], 0.5).expand(2, len(RADII), 3, 4)
    for index, radius in enumerate(RADII):
        assert_close(together[:, index], h(row, norm[:, 0], radius, 0.5), **EXACT)


@every
def test_dtype_is_kept_and_the_arguments_left_alone(row: MagnitudeRow) -> None:
    for dtype in (torch.float32, torch.float64):
        norm, radius = NORMS.to(dtype), torch.tensor(2.0, dtype=dtype)
        before = norm.clone()
        assert row.function(norm, radius, 0.5).dtype == dtype
        assert_close(norm, before, **EXACT)
        assert radius == 2


@every
def test_gradient_agrees_with_finite_differences(row: MagnitudeRow) -> None:
    norm = torch.tensor([0.2, 0.9, 1.3, 4.0], dtype=torch.float64, requires_grad=True)
    radius = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda n, r: row.function(n, r, 0.5) + 0 * n * r, [norm, radius]
    )


def test_segmented_lies_between_ball_and_linear() -> None:
    norm, radius = NORMS, 3.0
    assert_close(h(MAGNITUDES["segmented"], norm, radius, 1.0), norm, **FLOAT64)
    ball = radius * h(MAGNITUDES["ball"], norm, radius)
    assert_close(h(MAGNITUDES["segmented"], norm, radius, 0.0), ball, **FLOAT64)


def test_mixed_is_linear_and_logarithm() -> None:
    log = h(MAGNITUDES["log"], NORMS, 3.0)
    assert_close(h(MAGNITUDES["mixed"], NORMS, 3.0, 0.7), NORMS + 0.7 * log, **FLOAT64)


def test_logarithm_keeps_its_digits_for_small_norms() -> None:
    small = torch.tensor(1e-10)
    assert_close(h(MAGNITUDES["log"], small), small, rtol=1e-6, atol=0)


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownVariantError, match="Did you mean 'sphere'"):
        MAGNITUDES["spher"]


@every
def test_its_summary_is_a_sentence(row: MagnitudeRow) -> None:
    assert row.summary.endswith(".")
    assert row.source


@every
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.7])
@pytest.mark.parametrize("radius", RADII)
def test_slopes_of_the_row_are_the_derivatives(
    row: MagnitudeRow, radius: float, beta: float
) -> None:
    norm = NORMS[(NORMS / radius - 1).abs() > 1e-9][1:].requires_grad_()
    radii = torch.full_like(norm, radius).requires_grad_()
    value = row.function(norm, radii, beta)
    with torch.no_grad():
        slope = row.slope(norm, value, radii, beta)
        by_radius = row.radius_slope(norm, value, slope, radii) if row.takes_radius else None
    if row.name == "sphere":  # a step has no derivative that autograd could find
        assert_close(slope, torch.zeros_like(norm), **EXACT)
        return
    (expected,) = torch.autograd.grad(value.sum(), norm, retain_graph=True)
    assert_close(slope, expected, **FLOAT64)
    if by_radius is not None:
        (expected,) = torch.autograd.grad(value.sum(), radii)
        assert_close(by_radius, expected, **FLOAT64)
