"""Both ways to solve the dual give the same fit, and the search finds what trying all does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from covtool.ops import cholesky
from covtool.ops.ridge import PENALTIES, Loss, dual, dual_cholesky, fit_ridge, gram, mistakes
from covtool.ops.ridge.choice import lowest_nearby, squared_error
from covtool.ops.ridge.dual_cholesky import fit_by_cholesky
from covtool.ops.ridge.dual_eigen import fit_by_eigen


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of everything, as in a system of thousands of rows."""
    monkeypatch.setattr(cholesky, "BLOCK", 16)
    monkeypatch.setattr(dual_cholesky, "_AT_ONCE", 100)
    monkeypatch.setattr(dual_cholesky, "_ROWS_OF_START", 30)
    monkeypatch.setattr(gram, "_ROWS_OF_BLOCK", 16)


def problem(rows: int, features: int, offset: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, their centered Gram matrix and targets."""
    generator = torch.Generator().manual_seed(rows)
    labels = torch.randint(5, (rows,), generator=generator)
    centers = torch.randn(5, features, generator=generator)
    noise = torch.randn(rows, features, generator=generator)
    made = centers[labels] + 2 * noise + offset
    products = gram.centered_gram(made, made.mean(dim=0, dtype=torch.float64))
    return made, products, one_hot(labels, 5).bool()


@pytest.mark.parametrize("loss", [mistakes, squared_error])
@pytest.mark.parametrize("shape", [(50, 200), (90, 95), (90, 20)], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_methods_agree_to_rounding_at_every_penalty(
    shape: tuple[int, int], offset: float, loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, products, targets = problem(*shape, offset)
    for penalty in (PENALTIES[0], 1e-2, PENALTIES[-1]):
        for module in ("choice", "dual_cholesky", "dual_eigen"):
            monkeypatch.setattr(
                f"covtool.ops.ridge.{module}.scaled_penalties",
                lambda total, rows, penalty=penalty: [penalty * total / rows],
                raising=False,
            )
        expected = fit_by_eigen(products.clone(), targets, loss)
        fit = fit_by_cholesky(products.clone(), targets, loss)
        assert fit.penalty == pytest.approx(expected.penalty)
        assert_close(fit.left_out, expected.left_out, rtol=1e-8, atol=1e-9)
        scale = expected.coefficients.abs().max()
        assert_close(fit.coefficients / scale, expected.coefficients / scale, rtol=0, atol=1e-8)
        assert_close(fit.bias, expected.bias)


@pytest.mark.parametrize("method", [fit_by_eigen, fit_by_cholesky])
def test_leave_one_out_is_not_fooled_by_the_constant_direction(
    method: Callable[..., object],
) -> None:
    """Labels at random: nothing can be learned, however small the penalty may become."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(80, 500, generator=generator) + 1000
    labels = torch.randint(4, (80,), generator=generator)
    products = gram.centered_gram(features, features.mean(dim=0, dtype=torch.float64))
    fit = method(products, one_hot(labels, 4), mistakes)
    assert (fit.left_out.argmax(dim=1) == labels).double().mean() < 0.6


def test_many_rows_are_fitted_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _, targets = problem(90, 300)
    expected = fit_ridge(features, targets, loss=squared_error)
    monkeypatch.setattr(dual, "LARGEST_EIGEN", 10)
    copy = features.clone()
    fit = fit_ridge(features, targets, loss=squared_error)
    assert fit.penalty == pytest.approx(expected.penalty)
    assert_close(fit.weight, expected.weight, rtol=1e-7, atol=1e-10)
    assert_close(fit.bias, expected.bias, rtol=1e-7, atol=1e-10)
    assert_close(features, copy, rtol=0, atol=0)


def test_start_of_the_search_may_be_of_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_cholesky, "_ROWS_OF_START", 3)
    features = torch.randn(90, 100, generator=torch.Generator().manual_seed(1))
    features[torch.randperm(90, generator=torch.Generator().manual_seed(0))[:3]] = 0
    products = gram.centered_gram(features, features.mean(dim=0, dtype=torch.float64))
    targets = one_hot(torch.arange(90) % 4)
    expected = fit_by_eigen(products.clone(), targets, squared_error)
    fit = fit_by_cholesky(products, targets, squared_error)
    assert fit.penalty == pytest.approx(expected.penalty)


@pytest.mark.parametrize("lowest", [0, 1, 13, 27, 28])
def test_search_finds_the_lowest_of_one_valley_from_everywhere(lowest: int) -> None:
    for start in range(29):
        tried: list[int] = []

        def loss(place: int, tried: list[int] = tried) -> float:
            tried.append(place)
            return float(abs(place - lowest)) ** 1.5

        assert lowest_nearby(loss, 29, start=start) == lowest
        assert len(set(tried)) == len(tried) <= 5 + abs(start - lowest) // 2 + 1


def test_search_takes_the_first_of_equal_ones() -> None:
    losses = [5.0, 3, 1, 1, 1, 1, 4, 6]
    assert {lowest_nearby(losses.__getitem__, 8, start=start) for start in range(8)} == {2}


def test_search_stops_where_nothing_near_is_lower() -> None:
    losses = [9.0, 8, 2, 8, 9, 9, 5, 1, 5]
    assert lowest_nearby(losses.__getitem__, 9, start=2) == 2
    assert lowest_nearby(losses.__getitem__, 9, start=7) == 7
