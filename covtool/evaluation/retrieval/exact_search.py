"""Search among features: what orders a gallery for some queries, in blocks."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from covtool.evaluation.retrieval.comparisons import METRICS
from covtool.evaluation.retrieval.memory_plan import FLOAT, BlockPlan, plan_blocks
from covtool.specs import RetrievalSpec

RANKING = 28
"""Bytes for each item of a row that is ranked, at most (where distances are equal)."""
JUDGING = 100
"""Bytes for each image of the query's identity, at most."""
PREPARING = 4 * FLOAT
"""Bytes for each value of features that are made comparable."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """What is searched for, and among what.

    Attributes:
        query: Features, shape (Q, D).
        gallery: Features, shape (N, D).
        kept: The images of the gallery that are not junk, shape (G,).
        asked: The queries that are not junk; None where they are images of the gallery.
        itself: The place of each query in `kept`, shape (Q,); -1 where it has none.
        most: Images of one identity, at most.
    """

    query: Tensor
    gallery: Tensor
    kept: Tensor
    asked: Tensor | None
    itself: Tensor
    most: int

    @property
    def num_features(self) -> int:
        """D."""
        return self.query.shape[1]


class Search(Protocol):
    """Orders a gallery of G images for queries.

    Attributes:
        plan: Blocks that fit into the memory allowed.
    """

    plan: BlockPlan

    def compare(self, queries: Tensor) -> Tensor:
        """Return what is the smaller, the nearer an image of the gallery is, shape (B, G).

        Args:
            queries: Which, shape (B,), `plan.rows` of them at most.

        Returns:
            The caller's own until the next call.
        """


class ExactSearch:
    """Compares each query with every image of the gallery.

    Raises:
        ArgumentError: The memory allowed is too little.
    """

    def __init__(self, searched: Searched, spec: RetrievalSpec) -> None:
        self._searched = searched
        self.plan = plan_exact(searched, spec)
        self._comparison = METRICS[spec.metric]([searched.query, searched.gallery])
        self._rows = torch.empty(self.plan.rows, len(searched.kept))

    def compare(self, queries: Tensor) -> Tensor:
        x = self._comparison.prepare(self._searched.query[queries])
        found = self._rows[: len(queries)]
        for start in range(0, found.shape[1], self.plan.columns):
            block = slice(start, start + self.plan.columns)
            y = self._comparison.prepare(taken(self._searched.gallery, self._searched.kept[block]))
            self._comparison.compare(x, y, found[:, block])
        return found


def taken(features: Tensor, rows: Tensor) -> Tensor:
    """Return some rows of features, in ascending order: a view where no row is left out."""
    first, last = int(rows[0]), int(rows[-1])
    return features[first : last + 1] if last - first + 1 == len(rows) else features[rows]


def plan_exact(searched: Searched, spec: RetrievalSpec) -> BlockPlan:
    """Return the blocks of an `ExactSearch`; nothing of the features but their shapes is looked at.

    Raises:
        ArgumentError: The memory allowed is too little.
    """
    items = len(searched.kept)

    def cost(rows: int, columns: int) -> int:
        prepared = PREPARING * searched.num_features * (rows + columns)
        return prepared + rows * ranking_bytes(items, searched.most)

    return plan_blocks("The search", cost, (len(searched.query), items), spec.memory_bytes)


def ranking_bytes(items: int, most: int) -> int:
    """Return what comparing, ranking and judging take for each query, at most."""
    return RANKING * items + JUDGING * most
