"""Losses on embeddings, against loops over anchors and pairs that share no line with them."""

import math

import pytest
import torch
from tolerances import EXACT, FLOAT32_CHAIN, FLOAT64
from torch.testing import assert_close

from covtool.errors import ShapeError
from covtool.ops.circle import circle_loss
from covtool.ops.triplet import batch_hard_triplet


def triplet_by_loops(embeddings, labels, margin=None):
    X, losses = embeddings, []
    for a in range(len(X)):
        to_positives, to_negatives = [], []
        for other in range(len(X)):
            distance = sum((X[a, k] - X[other, k]) ** 2 for k in range(X.shape[1]))
            if other != a:
                (to_positives if labels[a] == labels[other] else to_negatives).append(distance)
        if to_positives and to_negatives:
            gap = max(to_positives) ** 0.5 - min(to_negatives) ** 0.5
            hinge = None if margin is None else margin + gap
            losses.append(torch.log1p(gap.exp()) if margin is None else hinge * (hinge > 0))
    return sum(losses) / len(losses) if losses else X.sum() * 0


def circle_by_loops(embeddings, labels, margin=0.25, scale=128.0):
    X, losses = embeddings, []
    for a in range(len(X)):
        pulls, pushes = [], []
        for other in range(len(X)):
            s = X[a] @ X[other] / (X[a].norm() * X[other].norm())
            if other == a:
                continue
            if labels[a] == labels[other]:
                alpha = max(0.0, 1 + margin - float(s.detach()))
                pulls.append(torch.exp(-scale * alpha * (s - (1 - margin))))
            else:
                alpha = max(0.0, float(s.detach()) + margin)
                pushes.append(torch.exp(scale * alpha * (s - margin)))
        if pulls and pushes:
            losses.append(torch.log(1 + sum(pulls) * sum(pushes)))
    return sum(losses) / len(losses) if losses else X.sum() * 0


CASES = {
    "triplet": (batch_hard_triplet, triplet_by_loops, {}),
    "triplet, hinge": (batch_hard_triplet, triplet_by_loops, {"margin": 0.3}),
    "triplet, hinge at 0": (batch_hard_triplet, triplet_by_loops, {"margin": 0.0}),
    "circle": (circle_loss, circle_by_loops, {"scale": 16.0}),
    "circle, as published": (circle_loss, circle_by_loops, {}),
    "circle, other margin": (circle_loss, circle_by_loops, {"margin": 0.4, "scale": 80.0}),
}
every = pytest.mark.parametrize(("loss", "by_loops", "settings"), CASES.values(), ids=CASES)

LABELS = {
    "2 x 3": [0, 0, 0, 1, 1, 1],
    "shuffled": [5, 2, 5, 9, 2, 9, 5, 2],
    "lonely anchors": [0, 0, 1, 2, 3, 3, 3],
    "many": [i % 6 for i in range(30)],
}


def normal(count, *, dtype=torch.float64, features=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator, dtype=torch.float64).to(dtype)


def value_and_gradient(loss, embeddings, labels, **settings):
    X = embeddings.clone().requires_grad_()
    value = loss(X, torch.tensor(labels), **settings)
    value.backward()
    return value.detach(), X.grad


@every
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_value_and_gradient_are_those_of_the_loops(loss, by_loops, settings, labels) -> None:
    X = normal(len(labels))
    got, expected = (value_and_gradient(f, X, labels, **settings) for f in (loss, by_loops))
    assert_close(got, expected, **FLOAT64)
    assert expected[1].abs().max() > 0


@every
def test_inputs_stay_as_they_are(loss, by_loops, settings) -> None:
    X, labels = normal(6), torch.tensor(LABELS["2 x 3"])
    before = X.clone(), labels.clone()
    loss(X, labels, **settings)
    assert torch.equal(X, before[0])
    assert torch.equal(labels, before[1])


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(loss, by_loops, settings, dtype) -> None:
    half = normal(30, dtype=dtype)
    got, gradient = value_and_gradient(loss, half, LABELS["many"], **settings)
    expected, _ = value_and_gradient(loss, half.float(), LABELS["many"], **settings)
    assert got.dtype == torch.float32
    assert gradient.dtype == dtype
    assert_close(got, expected, **EXACT)


@every
def test_autocast_does_not_lower_the_precision(loss, by_loops, settings) -> None:
    X, labels = normal(30, dtype=torch.float32), torch.tensor(LABELS["many"])
    expected = loss(X, labels, **settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(loss(X, labels, **settings), expected, **EXACT)


@every
@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 3], [0, 0, 0, 0], [7]], ids=["no positives", "no negatives", "alone"]
)
def test_a_batch_without_any_comparison_gives_zero_and_zeros(
    loss, by_loops, settings, labels
) -> None:
    value, gradient = value_and_gradient(loss, normal(len(labels)), labels, **settings)
    assert value == 0
    assert_close(gradient, torch.zeros_like(gradient), **EXACT)


def test_a_lonely_image_far_away_changes_nothing_and_is_not_moved() -> None:
    X, labels = normal(6), LABELS["2 x 3"]
    alone, _ = value_and_gradient(batch_hard_triplet, X, labels)
    far = torch.cat([X, torch.full((1, 4), 1e3, dtype=X.dtype)])
    together, gradient = value_and_gradient(batch_hard_triplet, far, [*labels, 2])
    assert_close(together, alone, **FLOAT64)
    assert_close(gradient[-1], torch.zeros_like(gradient[-1]), **EXACT)


@every
@pytest.mark.parametrize("value", [0.0, 0.37, 100.0])
def test_equal_embeddings_have_a_finite_loss_and_hardly_a_gradient(
    loss, by_loops, settings, value
) -> None:
    X = torch.full((6, 5), value, dtype=torch.float32)
    got, gradient = value_and_gradient(loss, X, LABELS["2 x 3"], **settings)
    assert got.isfinite()
    assert_close(gradient, torch.zeros_like(gradient), **FLOAT32_CHAIN)


def test_equal_embeddings_lose_the_soft_margin_and_the_hinge() -> None:
    X, labels = torch.ones(6, 5), torch.tensor(LABELS["2 x 3"])
    assert batch_hard_triplet(X, labels).item() == pytest.approx(math.log(2))
    assert batch_hard_triplet(X, labels, margin=0.3).item() == pytest.approx(0.3)


def test_an_image_that_came_twice_is_a_positive_at_distance_zero() -> None:
    X = normal(3)[[0, 0, 1]].clone()
    value, gradient = value_and_gradient(batch_hard_triplet, X, [0, 0, 1])
    expected = math.log1p(math.exp(-float((X[0] - X[2]).norm())))
    assert value.item() == pytest.approx(expected)
    assert gradient.isfinite().all()


def test_small_differences_of_long_embeddings_are_not_lost() -> None:
    """Products of the embeddings have no digits left for distances 1e5 times smaller."""
    small = normal(8, dtype=torch.float32) * 2.0**-10
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    near, far = (batch_hard_triplet(X, labels, margin=0.01) for X in (small, small + 64.0))
    assert_close(far, near, rtol=0.05, atol=0.0)


def test_circle_loss_ignores_the_lengths_of_embeddings() -> None:
    X, labels = normal(6), torch.tensor(LABELS["2 x 3"])
    lengths = torch.tensor([0.1, 3, 1, 7, 1e-3, 40], dtype=torch.float64)[:, None]
    assert_close(circle_loss(X * lengths, labels), circle_loss(X, labels), **FLOAT64)


def test_circle_loss_is_small_where_the_margin_is_met() -> None:
    X = torch.eye(2, dtype=torch.float64).repeat_interleave(3, dim=0)
    assert circle_loss(X, torch.tensor(LABELS["2 x 3"])) < 0.01


@every
@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((6, 2, 2), 6, r"embeddings must have shape \(B, D\), but it has \(6, 2, 2\)"),
        ((6, 2), 5, r"labels must have shape \(6,\), but it has \(5,\)"),
    ],
)
def test_other_shapes_are_refused(loss, by_loops, settings, shape, labels, message) -> None:
    with pytest.raises(ShapeError, match=message):
        loss(torch.zeros(shape), torch.zeros(labels, dtype=torch.long), **settings)
