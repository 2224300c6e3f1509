"""Products that are known to be symmetric, against the products themselves."""

import pytest
import torch
from tolerances import FLOAT64
from torch import Tensor
from torch.testing import assert_close

from covtool.ops import congruence
from covtool.ops.congruence import congruence_triangle, gram
from covtool.ops.covariance import triu_vec
from covtool.ops.isqrt import isqrt_covariance, isqrt_triangle

TILES = [(1, 2**19), (3, 3 * 7 * 8), (128, 4 * 7 * 7 * 8), (128, 1)]


def factors(batch: int = 3, size: int = 7, inner: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(batch, size, inner, dtype=torch.float64, generator=generator)
    middle = torch.randn(batch, inner, inner, dtype=torch.float64, generator=generator)
    return factor.requires_grad_(), (middle + middle.mT).requires_grad_()


def weighted(result: Tensor) -> Tensor:
    weights = torch.linspace(-1, 2, result.numel(), dtype=result.dtype)
    return (result.flatten() * weights).sum()


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_triangle_and_its_gradients_are_those_of_the_product(
    tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(congruence, "TILE_ROWS", tile[0])
    monkeypatch.setattr(congruence, "TILE_BYTES", tile[1])
    factor, middle = factors()
    got, wanted = (
        congruence_triangle(factor, middle),
        triu_vec(factor @ middle @ factor.mT),
    )
    assert_close(got, wanted, **FLOAT64)
    mine = torch.autograd.grad(weighted(got), (factor, middle))
    theirs = torch.autograd.grad(weighted(wanted), (factor, middle))
    assert_close(mine[0], theirs[0], **FLOAT64)
    assert_close(mine[1], (theirs[1] + theirs[1].mT) / 2, **FLOAT64)


@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 2, 5), (2, 1, 1)], ids=str)
def test_derivatives_agree_with_finite_differences(shape: tuple[int, int, int]) -> None:
    factor, middle = factors(*shape)

    def function(x: Tensor, q: Tensor) -> Tensor:
        return congruence_triangle(x, gram(q))

    assert torch.autograd.gradcheck(function, (factor, middle))
    assert torch.autograd.gradgradcheck(function, (factor, middle))


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch's own, in forward mode
def test_transforms_of_functions_see_the_same_functions() -> None:
    factor, middle = (t.detach() for t in factors())

    def total(x: Tensor, q: Tensor) -> Tensor:
        return congruence_triangle(x, gram(q)).square().sum()

    stacked = torch.stack([factor, 2 * factor])
    leaf = factor.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(total(leaf, middle), leaf)
    got = torch.func.vmap(torch.func.grad(total), in_dims=(0, None))(stacked, middle)
    assert_close(got[0], wanted, **FLOAT64)
    assert_close(got[1], 8 * wanted, **FLOAT64)
    tangent = torch.func.jvp(total, (factor, middle), (factor, middle))[1]
    assert_close(tangent, 8 * total(factor, middle), **FLOAT64)  # of degree 4 in each


@pytest.mark.parametrize("shape", [(2, 9, 2, 2), (2, 4, 3, 3), (2, 5, 1, 1)], ids=str)
@pytest.mark.parametrize("num_iterations", [1, 4, 5])
def test_triangle_of_the_root_is_that_of_the_root(
    shape: tuple[int, ...], num_iterations: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(shape, dtype=torch.float64, generator=generator).requires_grad_()
    triangle = isqrt_triangle(features, num_iterations=num_iterations)
    whole = triu_vec(isqrt_covariance(features, num_iterations=num_iterations))
    assert_close(triangle, whole, **FLOAT64)
    gradients = [torch.autograd.grad(weighted(t), features)[0] for t in (triangle, whole)]
    assert_close(*gradients, **FLOAT64)


@pytest.mark.parametrize("positions", [3, 9])
def test_many_gradients_at_once_are_those_one_by_one(positions: int) -> None:
    features = torch.randn(2, 5, positions, 1, dtype=torch.float64)

    def work(x: Tensor) -> Tensor:
        return isqrt_triangle(x)

    each = torch.autograd.functional.jacobian(work, features)
    assert_close(torch.autograd.functional.jacobian(work, features, vectorize=True), each)


def test_an_empty_batch_stays_empty() -> None:
    factor, middle = factors(batch=0)
    triangle = congruence_triangle(factor, middle)
    triangle.sum().backward()
    assert triangle.shape == (0, 28)
    assert factor.grad.shape == factor.shape
