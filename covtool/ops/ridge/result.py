"""What a ridge regression comes to."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Side = Literal["rows", "features"]
"""The system that is solved: n x n (the dual) or d x d (the primal)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeFit:
    """A linear model, ``features @ weight.T + bias``.

    Attributes:
        weight: Shape (K, d), float64.
        bias: Shape (K,), float64.
        penalty: The chosen λ, in the units of the squared features.
        left_out: Prediction for every `every`-th row if it had been left out, from the first row
            on, shape (ceil(n / every), K).
        every: Distance of these rows: 1, unless all predictions would be more than
            `covtool.ops.temperature.MOST_LOGITS` in the primal.
        answers: Place of the largest prediction for each row, had it been left out, shape (n,).
        side: ``rows`` where an n x n system was solved (the dual), ``features`` for d x d.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    left_out: Tensor
    every: int
    answers: Tensor
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class GramFit:
    """A linear model of inner products with the n rows, ``products @ coefficients + bias``.

    ``coefficients.mT @ features`` is the weight (K, d) for features that are at hand.

    Attributes:
        coefficients: Shape (n, K), float64; each column adds up to zero.
        bias: Shape (K,), for inner products (m, n) of the kind that the Gram matrix has.
        target_mean: Shape (K,): the bias for products of features that are centered.
        penalty: The chosen λ, in the units of the Gram matrix.
        left_out: Prediction for each row if it had been left out, shape (n, K).
    """

    coefficients: Tensor
    bias: Tensor
    target_mean: Tensor
    penalty: float
    left_out: Tensor
