"""Images that are far from the others of their class, or from all others."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.auditing.embeddings import ALIKE, Nearest

FAR = 3.5
"""Robust standard deviations below the median from which on an image is an outlier.

Source: Iglewicz, Hoaglin. "How to Detect and Handle Outliers", 1993.
"""

FEWEST = 5
"""Images of a class, below which its spread is not known."""

_TO_DEVIATION = 1.4826  # of a normal distribution, from the median absolute deviation


def similarity_to_class(features: Tensor, labels: Tensor) -> Tensor:
    """Return each image's cosine similarity with the mean of the others of its class.

    Args:
        features: Shape (n, D).
        labels: Shape (n,), at least 0.

    Returns:
        Shape (n,); NaN for the only image of a class.
    """
    unit = F.normalize(features, dim=1)
    classes = int(labels.max()) + 1
    sums = unit.new_zeros(classes, unit.shape[1]).index_add_(0, labels, unit)
    others = sums[labels] - unit
    similarity = F.cosine_similarity(unit, others, dim=1)
    counts = torch.bincount(labels, minlength=classes)
    return torch.where(counts[labels] > 1, similarity, torch.nan)


def similarity_to_all(nearest: Nearest) -> Tensor:
    """Return each image's mean cosine similarity with its nearest others, shape (n,)."""
    return nearest.similarities[:, :ALIKE].mean(dim=1)


def deviations_below(values: np.ndarray) -> np.ndarray:
    """Return how far each value lies below the median, in robust standard deviations.

    Args:
        values: Shape (n,); NaN where unknown.

    Returns:
        Shape (n,); NaN where unknown, for all of fewer than `FEWEST` known ones, and where more
        than half of them are equal.
    """
    known = values[~np.isnan(values)]
    if len(known) < FEWEST:
        return np.full(values.shape, np.nan)
    median = np.median(known)
    spread = _TO_DEVIATION * np.median(np.abs(known - median))
    return (median - values) / spread if spread > 0 else np.full(values.shape, np.nan)


def deviations_by_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return `deviations_below` within each class, shape (n,)."""
    found = np.full(values.shape, np.nan)
    order = np.argsort(labels, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        found[places] = deviations_below(values[places])
    return found
