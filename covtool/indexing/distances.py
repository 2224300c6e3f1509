"""Distances between images as a search states them: in float64, the same whatever the block."""

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 256
"""Rows of a block of distances."""


def distances_of_pairs(x: Tensor, y: Tensor, metric: str) -> Tensor:
    """Return distances between vectors, in float64; of equal ones exactly 0.

    Args:
        x: Features, shape (..., D).
        y: Features, shape (..., D), which broadcasts with that of `x`.
        metric: ``cosine`` for 1 - cos, which is 1 where a vector is zero; ``euclidean``.

    Example:
        >>> x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        >>> distances_of_pairs(x, torch.tensor([[4.0, -3.0]]), "cosine").round(decimals=9).tolist()
        [1.0, 1.0]
    """
    x, y = x.double(), y.double()
    if metric == "euclidean":
        return torch.linalg.vector_norm(x - y, dim=-1)
    x, is_zero_x = _unit(x)
    y, is_zero_y = _unit(y)
    # Half the squared distance of unit vectors is 1 - cos, without its cancellation near 0.
    distances = (x - y).square_().sum(-1) / 2
    return torch.where(is_zero_x | is_zero_y, 1.0, distances)


def distances_among(features: Tensor, metric: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of features, and their distances from all features, block by block.

    Args:
        features: Shape (N, D).
        metric: Distance, as in `distances_of_pairs`.

    Yields:
        Rows, shape (B,), and distances in float64, shape (B, N).
    """
    x = features.double()
    if metric == "cosine":
        x = _unit(x)[0]
    else:
        x = x - x.mean(0)  # |x|² + |y|² - 2xy loses digits far from the origin
        squares = x.square().sum(1)
    for rows in torch.arange(len(x)).split(ROWS):
        products = x[rows] @ x.T
        if metric == "cosine":
            yield rows, (1 - products).clamp_min_(0)
        else:
            yield rows, (squares[rows][:, None] + squares - 2 * products).clamp_min_(0).sqrt_()


def _unit(x: Tensor) -> tuple[Tensor, Tensor]:
    # By the largest value first: squares of float32 fit into float64, yet tiny ones would vanish.
    largest = x.abs().amax(-1, keepdim=True)
    is_zero = largest == 0
    x = x / largest.masked_fill(is_zero, 1)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norm.masked_fill(is_zero, 1), is_zero[..., 0]
