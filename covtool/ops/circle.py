"""The circle loss of pairs."""

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.matrix_sqrt import one_where_zero
from covtool.ops.pairs import label_pairs, mean_over
from covtool.ops.precision import at_least_float32, full_precision


def circle_loss(
    embeddings: Tensor, labels: Tensor, *, margin: float = 0.25, scale: float = 128.0
) -> Tensor:
    """Return the loss of positives against negatives, weighted by how far each has to go.

    For each anchor ``log(1 + Σ_n exp(γ α_n (s_n − m)) Σ_p exp(−γ α_p (s_p − 1 + m)))`` with
    ``α_p = max(0, 1 + m − s_p)`` and ``α_n = max(0, s_n + m)``. As in the paper, the α are weights:
    they are not differentiated.

    Args:
        embeddings: Shape (B, D), of any length; zero has cosine 0 to all. Not modified; half
            precision is computed in float32.
        labels: Integers, shape (B,).
        margin: m in (0, 1): smaller requires more similar positives and less similar negatives.
        scale: γ: the larger it is, the more the hardest pairs dominate.

    Returns:
        The mean over the anchors that have a positive and a negative, a scalar in float32 or
        better; 0 where none has both.

    Raises:
        ShapeError: The shapes differ from these.

    Source:
        Sun, Cheng, Zhang, Zhang, Zheng, Wang, Wei. "Circle Loss: A Unified Perspective of Pair
        Similarity Optimization", CVPR 2020, equations 6 to 8.
    """
    positive, negative = label_pairs(embeddings, labels)
    X = at_least_float32(embeddings)
    X = X / one_where_zero(torch.linalg.vector_norm(X, dim=1, keepdim=True))
    with full_precision(X):
        cosine = X @ X.mT
    # The weights of the pairs are constants for the gradient, as in the paper.
    fixed = cosine.detach()
    pull = -scale * (1 + margin - fixed).clamp_min(0) * (cosine - (1 - margin))
    push = scale * (fixed + margin).clamp_min(0) * (cosine - margin)
    counted = positive.any(dim=1) & negative.any(dim=1)
    exponents = _log_sum_exp(pull, positive, counted) + _log_sum_exp(push, negative, counted)
    return mean_over(counted, F.softplus(exponents, threshold=40))  # 20 costs digits of float64


def _log_sum_exp(logits: Tensor, members: Tensor, counted: Tensor) -> Tensor:
    """Return the log-sum-exp over the members of each row; rows that do not count stay finite."""
    # Rows that do not count are not masked: the log-sum-exp of an empty row has a NaN gradient,
    # and `mean_over` leaves their values out anyway.
    outside = ~members & counted[:, None]
    return logits.masked_fill(outside, -torch.inf).logsumexp(dim=1)
