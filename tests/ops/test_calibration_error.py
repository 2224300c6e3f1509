"""Calibration errors, against sums that are written out bin by bin."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tolerances import FLOAT64
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.calibration_error import (
    BINS,
    adaptive_calibration_error,
    expected_calibration_error,
)

ERRORS = pytest.mark.parametrize("error", [expected_calibration_error, adaptive_calibration_error])


def drawn(images=500, seed=0):
    generator = np.random.default_rng(seed)
    confidences = generator.uniform(0.1, 1, images) ** 0.3
    return confidences, generator.uniform(size=images) < confidences**3


def by_bins(bins, confidences, right):
    """Equation 3 of Guo et al., for a list of selections."""
    total = 0.0
    for chosen in bins:
        if np.any(chosen):
            gap = right[chosen].mean() - confidences[chosen].mean()
            total += np.count_nonzero(chosen) / len(right) * abs(gap)
    return total


@pytest.mark.parametrize("bins", [1, 7, BINS])
def test_bins_of_equal_width_are_those_of_the_equation(bins) -> None:
    confidences, right = drawn()
    edges = [m / bins for m in range(bins + 1)]
    chosen = [(confidences > low) & (confidences <= high) for low, high in pairwise(edges)]
    found = expected_calibration_error(*map(torch.tensor, (confidences, right)), bins=bins)
    assert_close(found, by_bins(chosen, confidences, right), **FLOAT64)
    assert found > 0.05


@pytest.mark.parametrize("bins", [1, 5, 20])
def test_bins_of_equal_size_are_slices_of_the_sorted_images(bins) -> None:
    confidences, right = drawn()
    order = np.argsort(confidences)
    chosen = np.split(order, bins)
    expected = sum(
        len(part) / 500 * abs(right[part].mean() - confidences[part].mean()) for part in chosen
    )
    found = adaptive_calibration_error(*map(torch.tensor, (confidences, right)), bins=bins)
    assert_close(found, expected, **FLOAT64)


@ERRORS
def test_probabilities_that_come_true_have_none(error) -> None:
    confidences = torch.tensor([0.5, 0.5, 1.0, 1.0])
    assert error(confidences, torch.tensor([True, False, True, True]), bins=2) == 0
    assert error(torch.ones(4), torch.zeros(4, dtype=torch.bool)) == 1


def test_an_edge_belongs_to_the_bin_below() -> None:
    confidences = torch.tensor([m / BINS for m in range(1, BINS + 1)], dtype=torch.float64)
    # One image a bin: nothing cancels, wherever rounding would put the edges.
    found = expected_calibration_error(confidences, torch.zeros(BINS, dtype=torch.bool))
    assert_close(found, confidences.mean().item(), **FLOAT64)


@ERRORS
def test_fewer_images_than_bins_and_a_single_one_work(error) -> None:
    assert error(torch.tensor([0.9]), torch.tensor([True])) == pytest.approx(0.1)


@ERRORS
def test_no_images_and_other_shapes_are_refused(error) -> None:
    with pytest.raises(ArgumentError, match="no images"):
        error(torch.zeros(0), torch.zeros(0))
    with pytest.raises(ShapeError):
        error(torch.zeros(3), torch.zeros(2))
