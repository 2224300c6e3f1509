import pytest
import torch
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.matrix_sqrt import matrix_sqrt_newton_schulz


def random_spd(size: int, *, condition: float) -> torch.Tensor:
    """One symmetric positive definite matrix (1, size, size) with the given condition number."""
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    exponents = -torch.linspace(0, 1, size, dtype=torch.float64)
    return (basis * condition**exponents @ basis.mT)[None]


@pytest.mark.parametrize("condition", [1.0, 10.0, 100.0])
def test_root_squares_back_to_the_input(condition: float) -> None:
    cov = random_spd(6, condition=condition)
    root = matrix_sqrt_newton_schulz(cov, num_iterations=20)
    assert_close(root @ root, cov, rtol=1e-8, atol=1e-10)


def test_root_agrees_with_an_eigendecomposition() -> None:
    cov = random_spd(6, condition=10)
    eigenvalues, vectors = torch.linalg.eigh(cov)
    expected = (vectors * eigenvalues.sqrt()[..., None, :]) @ vectors.mT
    assert_close(matrix_sqrt_newton_schulz(cov, num_iterations=20), expected)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_iterates_are_the_published_ones(iterations: int) -> None:
    cov = random_spd(5, condition=30)
    trace = cov.diagonal(dim1=-2, dim2=-1).sum()
    identity = torch.eye(5, dtype=torch.float64)
    root, inverse_root = cov / trace, identity
    for _ in range(iterations):
        step = (3 * identity - inverse_root @ root) / 2
        root, inverse_root = root @ step, step @ inverse_root
    expected = root * trace.sqrt()
    assert_close(matrix_sqrt_newton_schulz(cov, num_iterations=iterations), expected)


def test_result_scales_with_the_root_of_the_scale() -> None:
    cov = random_spd(6, condition=10)
    assert_close(matrix_sqrt_newton_schulz(4 * cov), 2 * matrix_sqrt_newton_schulz(cov))


def test_gradient_agrees_with_finite_differences() -> None:
    factor = random_spd(4, condition=10).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: matrix_sqrt_newton_schulz(f @ f.mT), factor)


def test_input_is_not_modified() -> None:
    cov = random_spd(4, condition=10)
    before = cov.clone()
    matrix_sqrt_newton_schulz(cov)
    assert_close(cov, before, rtol=0, atol=0)


def test_zero_gives_zero_with_zero_gradient() -> None:
    cov = torch.zeros(1, 3, 3, requires_grad=True)
    root = matrix_sqrt_newton_schulz(cov)
    root.sum().backward()
    assert_close(root.detach(), torch.zeros(1, 3, 3))
    assert_close(cov.grad, torch.zeros(1, 3, 3))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, C\), but it has \(2, 3, 4\)"):
        matrix_sqrt_newton_schulz(torch.zeros(2, 3, 4))
    with pytest.raises(ArgumentError, match="at least 1, but it is 0"):
        matrix_sqrt_newton_schulz(torch.eye(3)[None], num_iterations=0)
