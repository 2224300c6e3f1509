"""Closed forms against the definition: fit again, without the row."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.ridge import fit_ridge, fit_ridge_by_batches, mistakes, primal
from covtool.ops.sketch import CountSketch


def problem(rows: int, features: int, classes: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    centers = torch.randn(classes, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    return centers[labels] + 1.5 * noise + 4, torch.nn.functional.one_hot(labels).double()


def solve(features: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Ridge regression by its normal equations: weight (K, d) and bias (K,)."""
    mean, target_mean = features.mean(dim=0), targets.mean(dim=0)
    centered = features - mean
    system = centered.mT @ centered + penalty * torch.eye(features.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(system, centered.mT @ (targets - target_mean)).mT
    return weight, target_mean - weight @ mean


@pytest.mark.parametrize("shape", [(20, 50), (60, 7), (30, 30)], ids=str)
def test_fit_and_left_out_predictions_equal_brute_force(shape: tuple[int, int]) -> None:
    features, targets = problem(*shape)
    fit = fit_ridge(features, targets)
    weight, bias = solve(features, targets, fit.penalty)
    assert_close(fit.weight, weight, rtol=1e-7, atol=1e-9)
    assert_close(fit.bias, bias, rtol=1e-7, atol=1e-8)
    left_out = []
    for row in range(len(features)):
        others = torch.arange(len(features)) != row
        weight, bias = solve(features[others], targets[others], fit.penalty)
        left_out.append(weight @ features[row] + bias)
    assert_close(fit.left_out, torch.stack(left_out), rtol=1e-7, atol=1e-8)


def test_both_sides_and_batches_agree() -> None:
    features, targets = problem(60, 61)
    dual = fit_ridge(features, targets, loss=mistakes)
    by_batches = fit_ridge_by_batches(
        lambda: zip(features.split(17), targets.split(17), strict=True), loss=mistakes
    )
    assert (dual.side, by_batches.side) == ("rows", "features")
    assert dual.penalty == pytest.approx(by_batches.penalty)
    assert_close(by_batches.weight, dual.weight, rtol=1e-6, atol=1e-8)
    assert_close(by_batches.left_out, dual.left_out, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("shape", [(20, 50), (60, 7)], ids=str)
def test_targets_may_be_of_any_dtype(shape: tuple[int, int], dtype: torch.dtype) -> None:
    features, targets = problem(*shape)
    fit, expected = (fit_ridge(features, t, loss=mistakes) for t in (targets.to(dtype), targets))
    assert_close(fit.weight, expected.weight, rtol=0, atol=0)
    assert_close(fit.left_out, expected.left_out, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(20, 50), (60, 7)], ids=str)
def test_either_system_may_be_asked_for(shape: tuple[int, int]) -> None:
    features, targets = problem(*shape)
    dual, primal_fit = (fit_ridge(features, targets, side=side) for side in ("rows", "features"))
    assert (dual.side, primal_fit.side) == ("rows", "features")
    assert_close(primal_fit.weight, dual.weight, rtol=1e-6, atol=1e-8)
    assert_close(primal_fit.left_out, dual.left_out, rtol=1e-6, atol=1e-7)
    assert_close(dual.answers, dual.left_out.argmax(dim=1))
    assert_close(primal_fit.answers, dual.answers)


@pytest.mark.parametrize("size", [1, 2, 7, 13, 60])
def test_of_many_predictions_every_so_many_are_kept(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, targets = problem(60, 7)
    expected = fit_ridge(features, targets)
    monkeypatch.setattr(primal, "MOST_LOGITS", 50)  # 16 of the 60 rows
    fit = fit_ridge_by_batches(lambda: zip(features.split(size), targets.split(size), strict=True))
    assert (expected.every, fit.every) == (1, 4)
    monkeypatch.setattr(primal, "scaled_penalties", lambda total, rows: [fit.penalty])
    monkeypatch.setattr(primal, "MOST_LOGITS", 1 << 24)
    at_that_penalty = fit_ridge(features, targets)
    assert_close(fit.left_out, at_that_penalty.left_out[::4], rtol=1e-7, atol=1e-9)
    assert_close(fit.answers, at_that_penalty.answers, rtol=0, atol=0)


def test_leave_one_out_is_not_fooled_by_the_constant_direction() -> None:
    """Labels at random: nothing can be learned, however small the penalty may become."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(80, 500, generator=generator) + 1000
    labels = torch.randint(4, (80,), generator=generator)
    fit = fit_ridge(features, torch.nn.functional.one_hot(labels, 4), loss=mistakes)
    accuracy = (fit.left_out.argmax(dim=1) == labels).double().mean().item()
    assert accuracy < 0.6


def test_leave_one_out_is_a_fair_estimate() -> None:
    features, targets = problem(1200, 30)
    fit = fit_ridge(features[:300], targets[:300], loss=mistakes)
    predictions = features[300:] @ fit.weight.mT + fit.bias
    right = (predictions.argmax(dim=1) == targets[300:].argmax(dim=1)).double().mean()
    estimate = (fit.left_out.argmax(dim=1) == targets[:300].argmax(dim=1)).double().mean()
    assert abs(right - estimate) < 0.06


def test_inputs_are_not_modified() -> None:
    features, targets = problem(20, 50)
    copies = features.clone(), targets.clone()
    fit_ridge(features, targets)
    assert_close((features, targets), copies, rtol=0, atol=0)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ArgumentError, match="All feature vectors are equal"):
        fit_ridge(torch.ones(5, 9), torch.eye(5))
    with pytest.raises(ArgumentError, match="at least 3 rows, but there are 2"):
        fit_ridge(torch.rand(2, 9), torch.eye(2))
    with pytest.raises(ShapeError, match=r"\(5, K\)"):
        fit_ridge(torch.rand(5, 9), torch.eye(4))


def test_sketch_and_its_transpose_belong_together() -> None:
    sketch = CountSketch.draw(40, 16, seed=3)
    features, weight = torch.randn(5, 40).double(), torch.randn(2, 16).double()
    assert_close(sketch.apply(features) @ weight.mT, features @ sketch.transpose(weight).mT)


def test_sketch_keeps_inner_products_on_average() -> None:
    first, second = torch.rand(1, 40).double(), torch.rand(1, 40).double()
    draws = [CountSketch.draw(40, 32, seed=seed) for seed in range(2000)]
    products = torch.stack([(d.apply(first) * d.apply(second)).sum() for d in draws])
    error = products.std() / len(draws) ** 0.5
    assert abs(products.mean() - (first * second).sum()) < 4 * error
