"""Ridge regression by a Gram matrix is that of the features behind it."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from covtool.errors import ArgumentError, NonFiniteError, ShapeError
from covtool.ops.ridge import center_gram, fit_ridge, fit_ridge_gram, mistakes

TOLERANCE = {"rtol": 1e-7, "atol": 1e-9}


def problem(rows: int, features: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 3
    centers = torch.randn(3, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return centers[labels] + 1.5 * noise + 4, one_hot(labels).double()


@pytest.mark.parametrize("shape", [(20, 50), (60, 61), (60, 7)], ids=str)
def test_fit_equals_that_of_the_features(shape: tuple[int, int]) -> None:
    features, targets = problem(*shape)
    expected = fit_ridge(features, targets, loss=mistakes)
    fit = fit_ridge_gram(features @ features.mT, targets, loss=mistakes)
    assert fit.penalty == pytest.approx(expected.penalty)
    assert_close(fit.left_out, expected.left_out, **TOLERANCE)
    assert_close(fit.coefficients.mT @ features, expected.weight, **TOLERANCE)
    assert_close(fit.coefficients.sum(dim=0), torch.zeros(3).double(), rtol=0, atol=1e-12)


def test_products_with_new_rows_give_their_predictions() -> None:
    features, targets = problem(30, 80)
    new, _ = problem(9, 80, seed=1)
    fit = fit_ridge_gram(features @ features.mT, targets)
    expected = fit_ridge(features, targets)
    predictions = new @ expected.weight.mT + expected.bias
    assert_close(new @ features.mT @ fit.coefficients + fit.bias, predictions, **TOLERANCE)
    centered, new = features - features.mean(dim=0), new - features.mean(dim=0)
    assert_close(new @ centered.mT @ fit.coefficients + fit.target_mean, predictions, **TOLERANCE)


def test_sum_of_two_gram_matrices_is_the_fit_on_both_features() -> None:
    first, targets = problem(40, 90)
    second, _ = problem(40, 25, seed=1)
    both = fit_ridge(torch.cat([first, second], dim=1), targets)
    fit = fit_ridge_gram(first @ first.mT + second @ second.mT, targets)
    assert fit.penalty == pytest.approx(both.penalty)
    assert_close(fit.left_out, both.left_out, **TOLERANCE)


def test_products_of_centered_and_of_other_features_give_the_same() -> None:
    features, targets = problem(40, 90)
    centered = features - features.mean(dim=0)
    fit = fit_ridge_gram(features @ features.mT, targets)
    expected = fit_ridge_gram(centered @ centered.mT, targets)
    assert_close(fit.left_out, expected.left_out, **TOLERANCE)
    assert_close(center_gram(features @ features.mT), centered @ centered.mT, rtol=0, atol=1e-9)


def test_leave_one_out_is_not_fooled_by_a_large_mean() -> None:
    """Labels at random: nothing can be learned, however small the penalty may become."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(80, 500, generator=generator).double() + 1000
    labels = torch.randint(4, (80,), generator=generator)
    fit = fit_ridge_gram(features @ features.mT, one_hot(labels, 4), loss=mistakes)
    assert (fit.left_out.argmax(dim=1) == labels).double().mean() < 0.6


def test_gram_matrix_is_not_modified() -> None:
    features, targets = problem(20, 50)
    gram = features @ features.mT
    copy = gram.clone()
    fit_ridge_gram(gram, targets)
    assert_close(gram, copy, rtol=0, atol=0)


def test_what_is_no_gram_matrix_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(n, n\)"):
        fit_ridge_gram(torch.rand(5, 4), torch.eye(5))
    with pytest.raises(ShapeError, match=r"\(5, K\)"):
        fit_ridge_gram(torch.rand(5, 5), torch.eye(4))
    with pytest.raises(ArgumentError, match="at least 3 rows, but there are 2"):
        fit_ridge_gram(torch.eye(2), torch.eye(2))
    with pytest.raises(NonFiniteError, match="not finite"):
        fit_ridge_gram(torch.full((5, 5), torch.nan), torch.eye(5))


@pytest.mark.parametrize("value", [1.0, 0.1, 1e6])
def test_equal_rows_are_refused_whatever_rounding_leaves(value: float) -> None:
    features = torch.full((7, 90), value) * torch.linspace(0.1, 3, 90)
    with pytest.raises(ArgumentError, match="All feature vectors are equal"):
        fit_ridge_gram(features.double() @ features.double().mT, torch.eye(7))
