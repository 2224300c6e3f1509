"""What a ridge regression comes to."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeFit:
    """A linear model, ``features @ weight.T + bias``.

    Attributes:
        weight: Shape (K, d), float64.
        bias: Shape (K,), float64.
        penalty: The chosen λ, in the units of the squared features.
        left_out: Prediction for each row if it had been left out, shape (n, K).
        side: ``rows`` where an n x n system was solved (the dual), ``features`` for d x d.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    left_out: Tensor
    side: str
