"""Exact search among features, in blocks that fit into the memory allowed."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from covtool.evaluation.retrieval.comparisons import METRICS
from covtool.evaluation.retrieval.memory_plan import FLOAT, BlockPlan, SearchSize, plan_blocks
from covtool.evaluation.retrieval.pair_counts import counting_bytes
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.specs import SearchSpec

# Bounds of what torch's own record of allocations shows; test_search_memory.py holds them.
RANKING = 28
"""Bytes for each item of a row that is ranked, at most (where distances are equal)."""
SCORING = 100
"""Bytes for each image of the query's identity, at most."""
PREPARING = 4 * FLOAT
"""Bytes for each value of features that are prepared for comparison."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchFeatures:
    """Features to search with and to search in.

    Attributes:
        query: Features of the queries, shape (Q, D).
        gallery: Features of the gallery, shape (N, D); the same tensor where it is shared.
        relevance: Ground truth: the rows that take part, and the matches.
    """

    query: Tensor
    gallery: Tensor
    relevance: Relevance

    @property
    def size(self) -> SearchSize:
        """The counts that the memory depends on."""
        return self.relevance.size(self.query.shape[1])


class Search(Protocol):
    """Orders a gallery of G images for queries.

    Attributes:
        plan: Blocks of queries and gallery that fit into the memory allowed.
        base: What makes distances out of the last call of `compare`, shape (B, 1).
    """

    plan: BlockPlan
    base: Tensor

    def compare(self, queries: Tensor) -> Tensor:
        """Return values that order the gallery for some queries, the nearest smallest, (B, G).

        Args:
            queries: Rows of the queries, shape (B,), `plan.rows` of them at most.

        Returns:
            A buffer that the next call overwrites.
        """

    def to_distance(self, compared: float) -> float:
        """Return the metric's distance of a value of `compare` and `base`, added up."""


class ExactSearch:
    """Compares each query with every image of the gallery.

    Raises:
        ArgumentError: The memory allowed is too little.
    """

    def __init__(self, features: SearchFeatures, spec: SearchSpec) -> None:
        self.plan = plan_exact(features.size, spec)
        self._query, self._gallery = features.query, features.gallery
        self._gallery_rows = features.relevance.gallery_rows
        self._comparison = METRICS[spec.metric]([self._query, self._gallery])
        # One buffer for all blocks of queries: the plan counts it once.
        self._rows = torch.empty(self.plan.rows, len(self._gallery_rows))

    def compare(self, queries: Tensor) -> Tensor:
        x = self._comparison.prepare(self._query[queries])
        self.base = self._comparison.base(x)
        found = self._rows[: len(queries)]
        for start in range(0, found.shape[1], self.plan.columns):
            block = slice(start, start + self.plan.columns)
            y = self._comparison.prepare(gather_rows(self._gallery, self._gallery_rows[block]))
            self._comparison.compare(x, y, found[:, block])
        return found

    def to_distance(self, compared: float) -> float:
        return self._comparison.to_distance(compared)


def gather_rows(features: Tensor, rows: Tensor) -> Tensor:
    """Return rows of features, given in ascending order; a view where no row is left out."""
    # A slice is no copy, and most galleries have no junk that would leave a row out.
    first, last = int(rows[0]), int(rows[-1])
    return features[first : last + 1] if last - first + 1 == len(rows) else features[rows]


def plan_exact(size: SearchSize, spec: SearchSpec) -> BlockPlan:
    """Return the blocks of an `ExactSearch`.

    Raises:
        ArgumentError: The memory allowed is too little.
    """

    def cost(rows: int, columns: int) -> int:
        prepared = PREPARING * size.num_features * (rows + columns)
        counted = counting_bytes(size, spec.memory_bytes)
        return counted + prepared + rows * ranking_bytes(size)

    return plan_blocks("The search", cost, (size.queries, size.gallery), spec.memory_bytes)


def ranking_bytes(size: SearchSize, *, items: int | None = None) -> int:
    """Return bytes that comparing, ranking and scoring take for each query, at most.

    Args:
        size: The counts of the search.
        items: Images that a query is compared with; None for the gallery.
    """
    items = size.gallery if items is None else items
    return RANKING * items + SCORING * size.images_per_identity
