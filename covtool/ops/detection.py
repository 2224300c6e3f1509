"""Figures of a score that tells images of one kind from those of another.

Both figures are exact: every image is compared with every one, by sorting, and equal scores count
as what they are.
"""

import torch
from torch import Tensor

from covtool.errors import ArgumentError


def area_under_roc(low: Tensor, high: Tensor) -> float:
    """Return the area under the receiver operating characteristic, a share of 1.

    It is the share of pairs in which the score of `high` is the larger one, half of those in which
    the two are equal included: the statistic of Mann and Whitney.

    Args:
        low: Scores of images whose scores should be low, shape (N,).
        high: Scores of images whose scores should be high, shape (M,).

    Raises:
        ArgumentError: There are no images of a kind, or a score is not a number.

    Source:
        Hanley, McNeil. "The meaning and use of the area under a receiver operating characteristic
        (ROC) curve", Radiology 1982.

    Example:
        >>> area_under_roc(torch.tensor([0.1, 0.5]), torch.tensor([0.5, 0.9]))
        0.875
    """
    low, high = _checked(low).sort().values, _checked(high)
    below = torch.searchsorted(low, high, side="left")
    up_to = torch.searchsorted(low, high, side="right")
    # Whole numbers: twice the count of pairs, exact up to 2^63.
    return int((below + up_to).sum()) / (2 * len(low) * len(high))


def false_positive_rate(low: Tensor, high: Tensor, *, at: float = 0.95) -> float:
    """Return the share of `high` that is taken for `low` where a share of `low` is to be accepted.

    Args:
        low: Scores of images to accept, which should be low, shape (N,).
        high: Scores of images to turn away, shape (M,).
        at: Share of `low` that is accepted at least; the threshold is the lowest that does so.

    Raises:
        ArgumentError: As `area_under_roc`.

    Source:
        Hendrycks, Gimpel. "A Baseline for Detecting Misclassified and Out-of-Distribution Examples
        in Neural Networks", ICLR 2017; at 95 % as in Liang, Li, Srikant, ICLR 2018.
    """
    high = _checked(high)
    return int((high <= accepting_threshold(low, at=at)).sum()) / len(high)


def accepting_threshold(low: Tensor, *, at: float = 0.95) -> float:
    """Return the lowest score up to which a share of `low` lies at least.

    Args:
        low: Scores of images to accept, shape (N,).
        at: Share of them that is accepted.

    Raises:
        ArgumentError: There are no images, or a score is not a number.
    """
    low = _checked(low).sort().values
    # In whole numbers where it can be: 0.95 of 20 is 19, whatever the product rounds to.
    accepted = -int(-round(at * len(low), 9) // 1)
    return low[max(accepted, 1) - 1].item()


def _checked(scores: Tensor) -> Tensor:
    if scores.ndim != 1 or not len(scores):
        raise ArgumentError("There are no images of one of the two kinds to tell apart.")
    if scores.isnan().any():
        raise ArgumentError("A score is not a number.")
    return scores.cpu().double()
