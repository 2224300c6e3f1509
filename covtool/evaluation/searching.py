"""Search among features: what orders a gallery for some queries, in blocks."""

from typing import Protocol

import torch
from torch import Tensor

from covtool.evaluation.comparisons import METRICS
from covtool.evaluation.memory_plan import FLOAT, BlockPlan, plan_blocks

RANKING = 28
"""Bytes for each item of a row that is ranked, at most (where distances are equal)."""
JUDGING = 100
"""Bytes for each image of the query's identity, at most."""
PREPARING = 4 * FLOAT
"""Bytes for each value of features that are made comparable."""


class Search(Protocol):
    """Orders a gallery of G images for queries.

    Attributes:
        plan: Blocks that fit into the memory allowed.
    """

    plan: BlockPlan

    def compare(self, queries: Tensor) -> Tensor:
        """What is the smaller, the nearer an image of the gallery is, shape (B, G).

        Args:
            queries: Which, shape (B,), `plan.rows` of them at most.

        Returns:
            The caller's own until the next call.
        """


class ExactSearch:
    """Compares each query with every image of the gallery.

    Args:
        query: Features, shape (Q, D).
        gallery: Features, shape (N, D).
        kept: Which of the gallery are searched, shape (G,).
        metric: A name in `METRICS`.
        most: Images of one identity, at most.
        allowed: Bytes beside the features.

    Raises:
        ArgumentError: They are too few.
    """

    def __init__(
        self,
        query: Tensor,
        gallery: Tensor,
        kept: Tensor,
        *,
        metric: str,
        most: int,
        allowed: int,
    ) -> None:
        self._query, self._gallery, self._kept = query, gallery, kept
        self.plan = plan_blocks(
            "The search",
            lambda rows, columns: search_bytes(rows, columns, len(kept), query.shape[1], most),
            (len(query), len(kept)),
            allowed,
        )
        self._comparison = METRICS[metric]([query, gallery])
        self._rows = torch.empty(self.plan.rows, len(kept))

    def compare(self, queries: Tensor) -> Tensor:
        x = self._comparison.prepare(self._query[queries])
        found = self._rows[: len(queries)]
        for start in range(0, len(self._kept), self.plan.columns):
            block = slice(start, start + self.plan.columns)
            y = self._comparison.prepare(self._gallery[self._kept[block]])
            self._comparison.compare(x, y, found[:, block])
        return found


def search_bytes(rows: int, columns: int, items: int, num_features: int, most: int) -> int:
    """What searching takes, with blocks of so many rows and columns, at most."""
    prepared = PREPARING * num_features * (rows + columns)
    return prepared + rows * (RANKING * items + JUDGING * most)
