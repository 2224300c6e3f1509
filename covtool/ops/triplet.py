"""The triplet loss with the hardest positive and the hardest negative of the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.pairs import label_pairs, mean_over
from covtool.ops.precision import at_least_float32


def batch_hard_triplet(
    embeddings: Tensor, labels: Tensor, *, margin: float | None = None
) -> Tensor:
    """Compare the distances of each image to its farthest positive and its nearest negative.

    Distances are Euclidean. Only the two of each anchor are differentiated: memory is O(B D + B²).

    Args:
        embeddings: Shape (B, D). Not modified; half precision is computed in float32.
        labels: Integers, shape (B,).
        margin: Margin of the hinge ``max(0, margin + d_p - d_n)``; None for the soft margin,
            ``log(1 + exp(d_p - d_n))``, which keeps pulling beyond the margin.

    Returns:
        The mean over the anchors that have a positive and a negative, a scalar in float32 or
        better; 0 where none has both. A distance of 0 has a gradient of zero: equal embeddings
        cannot be pulled apart.

    Raises:
        ShapeError: The shapes differ from these.

    Source:
        Hermans, Beyer, Leibe. "In Defense of the Triplet Loss for Person Re-Identification",
        2017, equation 5 and section 3.2 (soft margin).

    Example:
        >>> X = torch.tensor([[0.0], [1.0], [3.0]])
        >>> batch_hard_triplet(X, torch.tensor([0, 0, 1]), margin=2.5)  # anchors: 1 - 3, 1 - 2
        tensor(1.)
    """
    positive, negative = label_pairs(embeddings, labels)
    X = at_least_float32(embeddings)
    with torch.no_grad():
        # `cdist` may use products, which lose small distances: enough to choose by, not to train.
        distances = torch.cdist(X, X)
        farthest = distances.masked_fill(~positive, -torch.inf).argmax(dim=1)
        nearest = distances.masked_fill(~negative, torch.inf).argmin(dim=1)
    gap = _distances(X, X[farthest]) - _distances(X, X[nearest])
    losses = F.softplus(gap) if margin is None else (gap + margin).clamp_min(0)
    return mean_over(positive.any(dim=1) & negative.any(dim=1), losses)


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return the distances row by row, (B,); by differences, as products would lose small ones."""
    distances: Tensor = torch.linalg.vector_norm(rows - others, dim=1)
    return distances
