"""How much each image looks like each class, judged without its own label."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.ridge import fit_ridge, mistakes

_FLOAT64 = 8


def left_out_scores(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return what a ridge classifier says of each image if that image is left out.

    The features are taken to length 1, and a bright or sharp picture counts no more than others.

    Args:
        features: Shape (n, D).
        labels: Shape (n,).
        classes: Number of classes K.

    Returns:
        Shape (n, K) in float64: near 1 for the class it looks like, near 0 for others.

    Raises:
        ArgumentError: There are fewer than three images, or all features are equal.
    """
    targets = F.one_hot(labels, classes)
    return fit_ridge(F.normalize(features, dim=1), targets, loss=mistakes).left_out


def scores_bytes(images: int, features: int, classes: int) -> int:
    """Return bytes of memory that `left_out_scores` takes, beside the features."""
    side = min(images, features)
    # The products and their factor, predictions and coefficients, in float64.
    return _FLOAT64 * (6 * side**2 + 3 * images * classes + features * classes)


def margins(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much another class exceeds an image's own, and which: the largest one.

    Args:
        scores: Shape (n, K), K at least 2.
        labels: Shape (n,).
    """
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf)
    best = others.max(dim=1)
    return best.values - own[:, 0], best.indices


def worst_first(margin: Sequence[float]) -> np.ndarray:
    """Return the places of margins in descending order; of equal ones, the first first."""
    return np.argsort(-np.asarray(margin), kind="stable")
