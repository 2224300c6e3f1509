"""Verification: two images are of one identity where their distance is at most a threshold."""

import torch
from torch import Tensor

from covtool.errors import ArgumentError, DataError


def threshold_at(different: Tensor, false_accept_rate: float) -> float:
    """Return the largest threshold that accepts at most a share of pairs of two identities.

    A pair is accepted where its distance is at most the threshold.

    Args:
        different: Distances of pairs of two identities, shape (n,).
        false_accept_rate: Share of them that may be accepted, from 0 to below 1.

    Returns:
        The threshold; just below the smallest distance where no pair may be accepted.

    Raises:
        ArgumentError: The rate is not in [0, 1).
        DataError: There are no pairs.

    Example:
        >>> distances = torch.arange(1.0, 11.0)
        >>> round(threshold_at(distances, 0.2), 4), int((distances <= 2.9999).sum())
        (3.0, 2)
    """
    if not 0 <= false_accept_rate < 1:
        raise ArgumentError(
            f"A rate of false accepts is from 0 to below 1, not {false_accept_rate}."
        )
    if not len(different):
        raise DataError("There are no pairs of two identities to choose a threshold on.")
    ordered = different.double().sort().values
    # All distances below the first one that must be refused are accepted, its equals are not.
    refused = ordered[int(false_accept_rate * len(ordered))]
    return torch.nextafter(refused, refused.new_tensor(-torch.inf)).item()
