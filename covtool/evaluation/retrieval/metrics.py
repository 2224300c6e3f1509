"""Figures of a ranking, from nothing but the ranks of the matches."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

RECALLS = tuple(step / 10 for step in range(11))
"""Shares of the matches found for which a precision is given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankingFigures:
    """Figures of B queries, shape (B,) and float64 each, in [0, 1] but for the rank.

    With R matches, at the ranks r_1 < ... < r_R, the precision at the i-th is i / r_i.

    Attributes:
        first_rank: r_1.
        average_precision: Mean of the precisions, without interpolation.
        inverse_penalty: R / r_R, high where the last match is found early. Ye et al.
            "Deep Learning for Person Re-identification", TPAMI 2021.
        r_precision: Share of the matches with a rank of R or less.
        average_precision_at_r: Sum of the precisions at such ranks, over R. Musgrave, Belongie,
            Lim. "A Metric Learning Reality Check", ECCV 2020.
    """

    first_rank: Tensor
    average_precision: Tensor
    inverse_penalty: Tensor
    r_precision: Tensor
    average_precision_at_r: Tensor

    @classmethod
    def joined(cls, parts: "list[RankingFigures]") -> "RankingFigures":
        """Return the figures of all queries, in the order of the parts."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def ranking_figures(ranks: Tensor, right: Tensor) -> RankingFigures:
    """Return figures of rankings.

    Args:
        ranks: Ranks from 1 on, in any order, shape (B, r).
        right: Whether each is the rank of a match, shape (B, r), at least one in each row.

    Example:
        >>> found = ranking_figures(torch.tensor([[4, 1]]), torch.tensor([[True, True]]))
        >>> found.average_precision.item(), found.inverse_penalty.item()
        (0.75, 0.5)
    """
    ranks, count, precision = _precisions(ranks, right)
    early = ranks <= count
    total = count[:, 0].double()
    return RankingFigures(
        first_rank=ranks[:, 0].double(),
        average_precision=precision.sum(1) / total,
        inverse_penalty=total / ranks.gather(1, count - 1)[:, 0],
        r_precision=early.sum(1) / total,
        average_precision_at_r=(precision * early).sum(1) / total,
    )


def precision_at_recall(ranks: Tensor, right: Tensor) -> Tensor:
    """Return the interpolated precision-recall curve of rankings, for `RECALLS`, (B, 11).

    It is the largest precision where at least that share of the matches is found.

    Args:
        ranks: As of `ranking_figures`.
        right: As of `ranking_figures`.
    """
    _, count, precision = _precisions(ranks, right)
    # The best precision from each match on; the i-th match is found at a recall of i / R.
    best = precision.flip(1).cummax(dim=1).values.flip(1)
    levels = torch.tensor(RECALLS, dtype=torch.float64, device=ranks.device)
    # 0.3 * 10 is more than 3 in floating point.
    return best.gather(1, (levels * count - 1e-9).ceil().long().sub(1).clamp_min(0))


def _precisions(ranks: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ranks of matches in order, their number, and the precision at each."""
    # Sorted behind all others, fillers need no mask: `place <= count` cuts them off.
    never = torch.iinfo(ranks.dtype).max
    ranks = ranks.masked_fill(~right, never).sort(dim=1).values
    count = right.sum(dim=1, keepdim=True)
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device)
    # In float64: means of thousands of queries are compared in their last digits.
    return ranks, count, torch.where(place <= count, place.double() / ranks, 0.0)
