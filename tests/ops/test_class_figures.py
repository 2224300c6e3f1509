"""Figures of classes, against a count by hand and plain resampling."""

import math

import numpy as np
import pytest
import torch

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.class_figures import class_figures, macro_figures, macro_means

RIGHT = torch.tensor([0, 0, 0, 1, 1, 2])
GIVEN = torch.tensor([0, 0, 1, 1, 0, 1])


def test_figures_are_those_of_a_count_by_hand() -> None:
    found = class_figures(RIGHT, GIVEN, 4)
    assert found.images.tolist() == [3, 2, 1, 0]
    assert found.predicted.tolist() == [3, 3, 0, 0]
    assert found.right.tolist() == [2, 1, 0, 0]
    assert found.precision[:2].tolist() == [2 / 3, 1 / 3] and found.precision[2:].isnan().all()
    assert found.recall[:3].tolist() == [2 / 3, 1 / 2, 0] and found.recall[3].isnan()
    assert found.f1[:3].tolist() == [4 / 6, 2 / 5, 0] and found.f1[3].isnan()


def test_means_are_over_the_classes_with_images() -> None:
    found = macro_figures(RIGHT, GIVEN, 4)
    assert found.precision[0] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3, rel=1e-12)
    assert found.recall[0] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3, rel=1e-12)
    assert found.f1[0] == pytest.approx((4 / 6 + 2 / 5 + 0) / 3, rel=1e-12)
    estimates = (found.precision[0], found.recall[0], found.f1[0])
    assert macro_means(RIGHT, GIVEN, 4) == estimates


def test_intervals_are_those_of_plain_resampling() -> None:
    generator = np.random.default_rng(0)
    right = generator.integers(0, 3, 200)
    given = np.where(generator.random(200) < 0.7, right, generator.integers(0, 3, 200))
    recalls = []
    for _ in range(3000):
        drawn = generator.integers(0, 200, 200)
        r, g = right[drawn], given[drawn]
        recalls.append(np.mean([(g[r == k] == k).mean() for k in range(3)]))
    expected = np.quantile(recalls, [0.025, 0.975])
    found = macro_figures(torch.tensor(right), torch.tensor(given), 3).recall
    assert found[1:] == pytest.approx(expected, abs=0.012)
    assert found[1] < found[0] < found[2]


def test_few_images_have_no_interval() -> None:
    found = macro_figures(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)
    assert found.recall[0] == 0.5 and math.isnan(found.recall[1]) and math.isnan(found.recall[2])


@pytest.mark.parametrize("given", [[0] * 30, [0, 1, 2] * 10, [0, 1, 0] * 10])
def test_recall_that_resampling_does_not_move_has_no_interval(given: list[int]) -> None:
    found = macro_figures(torch.tensor([0, 1, 2] * 10), torch.tensor(given), 3)
    assert found.recall[0] == pytest.approx(len(set(given)) / 3)
    assert np.isnan(found.recall[1:]).all()
    is_right_always = len(set(given)) == 3
    for low, high in (found.precision[1:], found.f1[1:]):
        assert math.isnan(low) == math.isnan(high) == is_right_always
        assert is_right_always or low < high


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no images"):
        macro_figures(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long), 2)
    with pytest.raises(ShapeError):
        class_figures(RIGHT, GIVEN[:3], 4)
