"""Taylor and Padé roots, their coefficients, and the Lyapunov equation of their gradient."""

from fractions import Fraction

import pytest
import torch
from tolerances import EXACT, FLOAT64, HALF
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.lyapunov import solve_lyapunov
from covtool.ops.matrix_approximants import matrix_sqrt_pade, matrix_sqrt_taylor
from covtool.ops.pade import pade_coefficients, root_pade, root_series
from covtool.ops.spectral import matrix_sqrt_eigh

ROOTS = {"taylor": matrix_sqrt_taylor, "pade": matrix_sqrt_pade}


def covariance(size: int = 5, smallest: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(2, size, size, generator=generator).double())[0]
    values = torch.linspace(smallest, 1, size, dtype=torch.float64)
    return (vectors * values) @ vectors.mT


def test_series_of_the_root_multiplied_by_itself_is_one_minus_z() -> None:
    series = root_series(9)
    square = [sum(series[j] * series[k - j] for j in range(k + 1)) for k in range(9)]
    assert square == [1, -1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("top", "bottom"), [(2, 2), (5, 5), (3, 1), (0, 4)])
def test_fraction_agrees_with_the_series_to_the_last_term(top: int, bottom: int) -> None:
    series = root_series(top + bottom + 1)
    numerator, denominator = pade_coefficients(series, top, bottom)
    for k in range(top + bottom + 1):
        product = sum(denominator[j] * series[k - j] for j in range(min(k, bottom) + 1))
        assert product == (numerator[k] if k <= top else 0)


def test_fraction_without_a_unique_solution_is_refused() -> None:
    with pytest.raises(ArgumentError, match="not unique"):
        pade_coefficients([Fraction(1)] * 5, 2, 2)
    with pytest.raises(ArgumentError, match="needs 5"):
        pade_coefficients([Fraction(1)] * 4, 2, 2)


def test_diagonal_fraction_has_no_pole_on_the_eigenvalues() -> None:
    _, denominator = root_pade(5)
    z = torch.linspace(0, 1, 1001, dtype=torch.float64)
    assert sum(c * z**k for k, c in enumerate(denominator)).min() > 0


@pytest.mark.parametrize("name", ROOTS)
def test_well_conditioned_root_is_close_to_the_exact_one(name: str) -> None:
    cov = covariance()
    assert_close(ROOTS[name](cov, degree=12), matrix_sqrt_eigh(cov), rtol=1e-3, atol=1e-3)


def test_fraction_is_closer_than_the_polynomial_for_small_eigenvalues() -> None:
    cov = covariance(smallest=1e-4)
    exact = matrix_sqrt_eigh(cov)
    errors = [(root(cov) - exact).norm() for root in (matrix_sqrt_pade, matrix_sqrt_taylor)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("name", ROOTS)
def test_gradient_is_that_of_the_exact_root_where_all_have_converged(name: str) -> None:
    gradients = []
    for root in (lambda c: ROOTS[name](c, degree=30 if name == "taylor" else 10), matrix_sqrt_eigh):
        cov = covariance(smallest=0.6).requires_grad_()
        root(cov)[:, 0, 1:3].sum().backward()
        gradients.append(cov.grad)
    assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_lyapunov_solution_solves_the_equation() -> None:
    root, right = covariance(), covariance(smallest=-0.5)
    solution = solve_lyapunov(root, right, num_iterations=20)
    assert_close(root @ solution + solution @ root, right, **FLOAT64)


def test_few_steps_solve_it_for_the_large_eigenvalues_and_stay_bounded_for_the_small() -> None:
    values = torch.tensor([1.0, 0.5, 1e-6], dtype=torch.float64)
    solution = solve_lyapunov(values.diag()[None], torch.eye(3, dtype=torch.float64)[None])[0]
    assert_close(solution[0, 0].item(), 0.5, rtol=1e-6, atol=0)
    assert_close(solution[1, 1].item(), 1.0, rtol=1e-6, atol=0)
    assert 0 < solution[2, 2] < 20


def decaying_covariance(channels: int, positions: int, decay: float) -> Tensor:
    """Of random positions in random directions whose variances fall like k**-decay."""
    generator = torch.Generator().manual_seed(3)
    scales = torch.arange(1, channels + 1, dtype=torch.float64) ** (-decay / 2)
    directions = torch.linalg.qr(torch.randn(channels, channels, generator=generator).double())[0]
    features = torch.randn(1, channels, positions, generator=generator).double()
    features = directions @ (scales[:, None] * features)
    centered = features - features.mean(dim=2, keepdim=True)
    return centered @ centered.mT / positions


def exact_lyapunov(root: Tensor, right: Tensor) -> Tensor:
    """By the eigenvectors U of the root: (U'XU)_ij = (U'GU)_ij / (l_i + l_j)."""
    eigenvalues, vectors = torch.linalg.eigh(root)
    sums = eigenvalues[:, :, None] + eigenvalues[:, None]
    return vectors @ ((vectors.mT @ right @ vectors) / sums) @ vectors.mT


FARTHEST = {"taylor": 2e-6, "pade": 6e-3}
"""From the exact solution at the same root, relative to its norm."""


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("positions", [49, 196])
@pytest.mark.parametrize("channels", [8, 64, 256])
@pytest.mark.parametrize("name", ROOTS)
def test_gradient_is_near_the_exact_solution_of_the_lyapunov_equation(
    name: str, channels: int, positions: int, decay: float
) -> None:
    cov = decaying_covariance(channels, positions, decay).requires_grad_()
    incoming = torch.randn(cov.shape, generator=torch.Generator().manual_seed(4)).double()
    root = ROOTS[name](cov)
    (grad,) = torch.autograd.grad(root, cov, incoming)
    exact = exact_lyapunov(root.detach(), (incoming + incoming.mT) / 2)
    assert (grad - exact).norm() <= FARTHEST[name] * exact.norm()


@pytest.mark.parametrize("name", ROOTS)
def test_gradient_solves_the_lyapunov_equation_of_the_result_and_is_symmetric(name: str) -> None:
    cov = covariance().requires_grad_()
    root = ROOTS[name](cov)
    incoming = torch.randn(root.shape, generator=torch.Generator().manual_seed(1)).double()
    (grad,) = torch.autograd.grad(root, cov, incoming)
    left = root @ grad + grad @ root
    assert_close(left.detach(), (incoming + incoming.mT) / 2, rtol=1e-6, atol=1e-8)
    assert_close(grad, grad.mT, **EXACT)


@pytest.mark.parametrize("degree", [1, 10, 11])
def test_polynomial_is_the_published_sum_over_the_eigenvalues(degree: int) -> None:
    cov = covariance(smallest=0.01)
    norm = cov.square().sum(dim=(1, 2)).sqrt()[:, None]
    eigenvalues, vectors = torch.linalg.eigh(cov)
    z = 1 - eigenvalues / norm
    total, term = torch.ones_like(z), torch.ones_like(z)
    for k in range(1, degree + 1):
        term = term * z * (k - 1.5) / k
        total = total + term
    expected = (vectors * (total * norm.sqrt())[:, None]) @ vectors.mT
    assert_close(matrix_sqrt_taylor(cov, degree=degree), expected, **FLOAT64)


EDGES = {
    "rank one": torch.arange(1.0, 6)[None, :, None] * torch.arange(1.0, 6)[None, None],
    "constant": torch.ones(1, 5, 5),
    "tied": torch.eye(5)[None],
    "one by one": torch.full((1, 1, 1), 3.0),
    "tiny": covariance().float() * 1e-38,
    "huge": covariance().float() * 1e37,
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", ROOTS)
def test_value_and_gradient_are_finite_at_the_edges(name: str, edge: str) -> None:
    cov = EDGES[edge].clone().requires_grad_()
    root = ROOTS[name](cov)
    root.sum().backward()
    assert root.isfinite().all()
    assert root.abs().max() > 0
    assert cov.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ROOTS)
def test_half_precision_is_kept_and_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    cov = covariance().to(dtype)
    root = ROOTS[name](cov)
    assert root.dtype == dtype
    assert_close(root, ROOTS[name](cov.float()).to(dtype), **EXACT)
    assert_close(root.double(), ROOTS[name](covariance()), **HALF)


@pytest.mark.parametrize("name", ROOTS)
def test_autocast_changes_neither_value_nor_gradient(name: str) -> None:
    results = []
    for enabled in (False, True):
        cov = covariance().float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            root = ROOTS[name](cov)
            root.sum().backward()
        results.append((root.detach(), cov.grad))
    assert_close(*results, **EXACT)


@pytest.mark.parametrize("name", ROOTS)
def test_zero_matrix_gives_zero_with_zero_gradient(name: str) -> None:
    cov = torch.zeros(2, 3, 3, requires_grad=True)
    root = ROOTS[name](cov)
    root.sum().backward()
    assert root.abs().max() == 0
    assert cov.grad.abs().max() == 0


@pytest.mark.parametrize("name", ROOTS)
def test_what_is_no_square_matrix_is_refused(name: str) -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, C\)"):
        ROOTS[name](torch.rand(2, 3, 4))
