"""Agreement of probabilities with how often they are right.

Of the images that get a class with 80 %, eighty of a hundred should be of that class. The error is
the gap between the two, averaged over bins of equal confidence.
"""

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError

BINS = 15
"""Number of bins, as in Guo et al."""


def expected_calibration_error(confidences: Tensor, right: Tensor, *, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal width, a share of 1.

    Args:
        confidences: Probability of each image's most probable class, shape (N,), in [0, 1].
        right: Whether that class is the image's, shape (N,).
        bins: Number of bins, M; bin m holds the confidences in ((m - 1) / M, m / M].

    Raises:
        ShapeError: The two do not have one shape (N,).
        ArgumentError: There are no images.

    Source:
        Guo, Pleiss, Sun, Weinberger. "On Calibration of Modern Neural Networks", ICML 2017,
        equation 3.

    Example:
        >>> expected_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
        0.25
    """
    confidences, right = _checked(confidences, right)
    # The edges as numbers, not the product of confidence and M: that rounds across an edge.
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    return _gap(confidences, right, torch.bucketize(confidences, edges), bins)


def adaptive_calibration_error(confidences: Tensor, right: Tensor, *, bins: int = BINS) -> float:
    """Return the calibration error over bins of equally many images, a share of 1.

    Where nearly all confidences are close to 1, most bins of equal width hold next to nothing.
    Images of one confidence may lie in two bins; their order is that in which they are given.

    Args:
        confidences: See `expected_calibration_error`.
        right: See `expected_calibration_error`.
        bins: Number of bins; of fewer images each is a bin.

    Raises:
        ShapeError: As `expected_calibration_error`.
        ArgumentError: As `expected_calibration_error`.

    Source:
        Nguyen, O'Connor. "Posterior calibration and exploratory analysis for natural language
        processing models", EMNLP 2015, section 3.
    """
    confidences, right = _checked(confidences, right)
    order = confidences.argsort(stable=True)
    ranks = torch.arange(len(order))
    return _gap(confidences[order], right[order], ranks * bins // len(order), bins)


def _checked(confidences: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    if confidences.ndim != 1 or right.shape != confidences.shape:
        raise ShapeError.expected("right", f"{tuple(confidences.shape)}, of one axis", right)
    if not len(confidences):
        raise ArgumentError("There are no images to measure the calibration on.")
    return confidences.cpu().double(), right.cpu().double()


def _gap(confidences: Tensor, right: Tensor, bin_of: Tensor, bins: int) -> float:
    # A bin's share of the images cancels the count in its means.
    differences = confidences.new_zeros(bins).index_add(0, bin_of, right - confidences)
    return float(differences.abs().sum() / len(confidences))
