"""Pairs of images in a batch: what losses on embeddings are made of."""

import torch
from torch import Tensor

from covtool.errors import ShapeError


def label_pairs(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs of images are positive (one label, two images), and which negative.

    Args:
        embeddings: Shape (B, D); their values do not matter.
        labels: Integers, shape (B,).

    Returns:
        Two boolean matrices (B, B), rows for the anchors.

    Raises:
        ShapeError: The shapes differ from these.

    Example:
        >>> positive, negative = label_pairs(torch.zeros(3, 8), torch.tensor([0, 0, 1]))
        >>> positive.sum(1).tolist(), negative.sum(1).tolist()
        ([1, 1, 0], [1, 1, 2])
    """
    if embeddings.ndim != 2:
        raise ShapeError.expected("embeddings", "(B, D)", embeddings)
    if labels.shape != embeddings.shape[:1]:
        raise ShapeError.expected("labels", f"({len(embeddings)},)", labels)
    same = labels[:, None] == labels
    # An image is no positive of its own.
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def mean_over(counted: Tensor, values: Tensor) -> Tensor:
    """Mean of the finite `values` that count; where none does, 0 with a gradient of zeros."""
    # `where` and not a product: 0 * inf is NaN. The clamp is for batches without any pair.
    return torch.where(counted, values, 0).sum() / counted.sum().clamp_min(1)
