"""Matrix functions by eigendecomposition against computations that share nothing with them."""

import pytest
import torch
from tolerances import EXACT, FLOAT64
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError, UnknownVariantError
from covtool.ops.eigen_gradients import GRADIENTS, geometric_pade_coefficients, slopes
from covtool.ops.isqrt import isqrt_covariance
from covtool.ops.second_order import covariance_factor
from covtool.ops.spectral import eigh, gram_function, matrix_sqrt_eigh
from covtool.ops.spectral_functions import logarithm, power

SHAPES = [(2, 5, 9), (2, 9, 5), (1, 4, 4), (2, 6, 1)]
FUNCTIONS = {"root": power(0.5), "power": power(0.3), "identity": power(1.0), "log": logarithm(0.1)}


def factor(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def denman_beavers(matrix: Tensor) -> Tensor:
    """Square root by an iteration with inverses."""
    root, inverse = matrix, torch.eye(len(matrix), dtype=matrix.dtype)
    for _ in range(60):
        root, inverse = (root + inverse.inverse()) / 2, (inverse + root.inverse()) / 2
    return root


def log_by_integral(matrix: Tensor, steps: int = 400) -> Tensor:
    """Log A as the integral of (A - I) (t (A - I) + I)**-1 over [0, 1], by Gauss-Legendre."""
    nodes, weights = gauss_legendre(steps)
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    shifted = matrix - identity
    terms = [
        w * shifted @ (t * shifted + identity).inverse()
        for t, w in zip(nodes, weights, strict=True)
    ]
    return torch.stack(terms).sum(dim=0)


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


@pytest.mark.parametrize("side", ["channels", "positions"])
@pytest.mark.parametrize("shape", SHAPES[:1] + SHAPES[2:3], ids=str)
def test_root_equals_an_iteration_with_inverses(shape: tuple[int, ...], side: str) -> None:
    A = factor(*shape)
    roots = gram_function(A, power(0.5), side=side).matrix
    for a, root in zip(A, roots, strict=True):
        assert_close(root, denman_beavers(a @ a.mT), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("side", ["channels", "positions"])
def test_logarithm_equals_an_integral(side: str) -> None:
    A, eps = factor(2, 4, 3), 0.1
    logs = gram_function(A, logarithm(eps), side=side).matrix
    for a, log in zip(A, logs, strict=True):
        regular = a @ a.mT + eps * torch.eye(4, dtype=a.dtype)
        assert_close(log, log_by_integral(regular), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("gradient", [r.name for r in GRADIENTS if r.name != "newton-schulz"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_both_sides_are_the_same_function(
    function: str, gradient: str, shape: tuple[int, ...]
) -> None:
    weights, outcomes = factor(shape[0], shape[1], shape[1]), []
    for side in ("channels", "positions"):
        A = factor(*shape).requires_grad_()
        result = gram_function(A, FUNCTIONS[function], gradient=gradient, side=side)
        ((result.matrix * weights).sum() + result.eigenvalues.square().sum()).backward()
        outcomes.append((result.matrix.detach(), A.grad))
    for first, second in zip(*outcomes, strict=True):
        assert_close(first, second, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("function", ["root", "power", "identity", "log"])
def test_exact_gradient_agrees_with_finite_differences(
    function: str, shape: tuple[int, ...]
) -> None:
    A = factor(*shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: tuple(gram_function(a, FUNCTIONS[function])), A)


def turned(eigenvalues: list[float]) -> Tensor:
    size = len(eigenvalues)
    vectors = torch.linalg.qr(factor(1, size, size)[0])[0]
    return (vectors * torch.tensor(eigenvalues, dtype=torch.float64)) @ vectors.mT


@pytest.mark.parametrize("eigenvalues", [[4.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
def test_exact_gradient_is_right_at_ties(eigenvalues: list[float]) -> None:
    cov = turned(eigenvalues)[None].requires_grad_()

    def root(matrices: Tensor) -> Tensor:
        return matrix_sqrt_eigh((matrices + matrices.mT) / 2)

    assert torch.autograd.gradcheck(root, cov)


def test_ordinary_rule_loses_the_gradient_at_ties_and_the_exact_one_does_not() -> None:
    eigenvalues = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64)
    exact = slopes(eigenvalues, power(0.5), None)
    ordinary = slopes(eigenvalues, power(0.5), GRADIENTS["svd"].weights)
    assert_close(exact[0, 1, 2].item(), 0.5)
    assert ordinary[0, 1, 2] == 0
    assert_close(exact[0, 0], ordinary[0, 0], **FLOAT64)


APART = torch.tensor([[5.0, 2.5, 1.0, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize("name", [r.name for r in GRADIENTS if r.weights])
def test_every_rule_approaches_the_divided_differences_for_eigenvalues_apart(name: str) -> None:
    rule = GRADIENTS[name]
    got = slopes(APART, power(0.5), rule.weights, rule.order or 0)
    assert_close(got, slopes(APART, power(0.5), None), rtol=1e-4, atol=1e-5)
    assert_close(got, got.mT, **EXACT)


def test_truncated_rule_is_bounded() -> None:
    close = torch.tensor([[1.0, 1.0 - 1e-14]], dtype=torch.float64)
    assert GRADIENTS["svd"].weights(close, 0).abs().max() > 1e13
    assert GRADIENTS["truncated"].weights(close, 0).abs().max() == 1e10


def test_top_n_leaves_out_every_pair_with_a_smaller_eigenvalue() -> None:
    kept = GRADIENTS["top-n"].weights(APART, 2)
    assert_close(kept[:, :2, :2], GRADIENTS["svd"].weights(APART, 0)[:, :2, :2], **EXACT)
    assert kept[:, 2:].abs().max() == kept[:, :, 2:].abs().max() == 0


@pytest.mark.parametrize("degree", [1, 7, 100])
def test_taylor_rule_is_the_sum_of_its_terms(degree: int) -> None:
    expected = sum((2.5 / 5.0) ** k for k in range(degree + 1)) / 5.0
    weights = GRADIENTS["taylor"].weights(APART, degree)
    assert_close(weights[0, 1, 0].item(), expected)
    assert weights[0, 0, 1] == -weights[0, 1, 0]
    tied = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    assert_close(GRADIENTS["taylor"].weights(tied, degree)[0, 1, 0].item(), (degree + 1) / 2)


@pytest.mark.parametrize("degree", [1, 4, 50])
def test_pade_coefficients_agree_with_the_geometric_series(degree: int) -> None:
    numerator, denominator = geometric_pade_coefficients(degree)
    assert denominator[0] == 1
    for k in range(2 * degree + 1):  # of denominator times 1 + x + x**2 + ...
        product = sum(denominator[: k + 1])
        assert product == pytest.approx(numerator[k] if k <= degree else 0, abs=1e-12)


def by_differentiating_power_iterations(matrix: Tensor, steps: int) -> Tensor:
    """The square root through deflated power iterations from the exact eigenvectors on."""
    _, vectors = torch.linalg.eigh(matrix.detach())
    deflated, root = matrix, 0
    for vector in vectors.flip(-1).T:
        for _ in range(steps):
            vector = deflated @ vector
            vector = vector / vector.norm()
        value = vector @ matrix @ vector
        root = root + value.sqrt() * torch.outer(vector, vector)
        deflated = deflated - value * torch.outer(vector, vector)
    return root


@pytest.mark.parametrize("steps", [2, 3, 8])
def test_power_iteration_rule_is_what_autograd_gives_for_power_iterations(steps: int) -> None:
    matrix, weights = turned([5.0, 2.5, 1.0, 0.3]), factor(1, 4, 4)[0]
    weights = weights + weights.mT
    gradients = []
    for root in (
        lambda m: by_differentiating_power_iterations(m, steps),
        lambda m: matrix_sqrt_eigh(m[None], gradient="power-iteration", order=steps)[0],
    ):
        leaf = matrix.clone().requires_grad_()
        (root((leaf + leaf.mT) / 2) * weights).sum().backward()
        gradients.append(leaf.grad)
    assert_close(*gradients, rtol=1e-7, atol=1e-8)


def test_newton_schulz_rule_has_the_exact_value_and_the_gradient_of_the_iteration() -> None:
    from covtool.ops import matrix_sqrt_newton_schulz

    cov = turned([3.0, 1.0, 0.5])[None]
    given, other = cov.clone().requires_grad_(), cov.clone().requires_grad_()
    root = matrix_sqrt_eigh(given, gradient="newton-schulz", order=4)
    root.square().sum().backward()
    incoming = 2 * root.detach()
    matrix_sqrt_newton_schulz(other, num_iterations=4).backward(incoming)
    assert_close(root.detach(), matrix_sqrt_eigh(cov), **EXACT)
    assert_close(given.grad, other.grad, **FLOAT64)


def test_values_that_are_not_finite_stay_so_and_harm_no_neighbor() -> None:
    A = factor(3, 4, 6)
    expected = gram_function(A, power(0.5)).matrix
    for side in ("channels", "positions"):
        broken = A.clone()
        broken[1, 2, 3] = torch.nan
        matrix = gram_function(broken, power(0.5), side=side).matrix
        assert not matrix[1].isfinite().any()
        assert_close(matrix[[0, 2]], expected[[0, 2]], **FLOAT64)


def test_eigenvalues_of_rounding_are_exactly_zero() -> None:
    A = factor(1, 6, 2)
    values, _ = eigh(A @ A.mT)
    assert (values[0, 2:] == 0).all()
    assert (values[0, :2] > 0).all()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(B, C, N\)"):
        gram_function(torch.rand(3, 4), power())
    with pytest.raises(ShapeError, match=r"\(B, C, C\)"):
        matrix_sqrt_eigh(torch.rand(2, 3, 4))
    with pytest.raises(UnknownVariantError, match="Did you mean 'pade'"):
        matrix_sqrt_eigh(torch.eye(2)[None], gradient="padé")
    with pytest.raises(ArgumentError, match="at least 2"):
        matrix_sqrt_eigh(torch.eye(2)[None], gradient="pade", order=1)
    with pytest.raises(ArgumentError, match="no order"):
        matrix_sqrt_eigh(torch.eye(2)[None], order=3)
    with pytest.raises(ArgumentError, match="square root"):
        gram_function(torch.rand(1, 2, 3), logarithm(), gradient="newton-schulz")
    with pytest.raises(ArgumentError, match="must be positive"):
        logarithm(0)
    with pytest.raises(ArgumentError, match=r"in \(0, 1\]"):
        power(1.5)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", ["isqrt", *FUNCTIONS])
def test_sides_agree_relative_to_the_norm(name: str, dtype: torch.dtype, most: float) -> None:
    features = factor(2, 24, 49).relu().unflatten(-1, (7, 7)).to(dtype)
    for maps in (features, features[..., :2, :3]):
        if name == "isqrt":
            sides = [isqrt_covariance(maps, side=s) for s in ("channels", "positions")]
        else:
            A = covariance_factor(maps)
            sides = [
                gram_function(A, FUNCTIONS[name], side=s).matrix for s in ("channels", "positions")
            ]
        assert (sides[0] - sides[1]).norm() <= most * sides[0].norm()
