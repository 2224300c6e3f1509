"""What a page of a search is about."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

import torch
from torch import Tensor

from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.evaluation.retrieve import Retrieval
from covtool.pages import Column
from covtool.reporting.ranged_figures import Ranged, search_figures

KEPT = 10
"""First images of a query's ranking that a page shows."""


@dataclass(frozen=True, kw_only=True)
class RetrievalSubject:
    """A search that was measured.

    Attributes:
        done: What was measured, with the first images of each ranking
            that are to be shown; see `RetrievalRequest.keep`.
        model: Name of the model, or of the file of features.
        command: The command that was typed; empty without one.
    """

    done: Retrieval
    model: str
    command: str = ""

    @property
    def scored(self) -> list[int]:
        """Queries that count, those of the lowest average precision first."""
        precisions = self.done.result.average_precisions
        there = [row for row, precision in enumerate(precisions) if precision is not None]
        return sorted(there, key=lambda row: precisions[row])

    @property
    def rank_1(self) -> str:
        """The name of the share of queries whose first image is right: rank-1, or Recall@1."""
        return next(name for name, _ in self.done.result.figures())

    @cached_property
    def ranged(self) -> Mapping[str, Ranged]:
        """Figures that are means over queries, with their ranges."""
        rows = self.scored
        return search_figures(self.done.result, rows, self.identities_of(rows))

    def identities_of(self, queries: Sequence[int]) -> Tensor:
        """Return a number for the identity of each query, (Q,), to resample by."""
        names = [self.done.layout.query[row].identity for row in queries]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        return torch.tensor([numbers[name] for name in names])

    def grouped(self, key: Callable[[RetrievalSample], str]) -> list[tuple[str, list[int]]]:
        """Return the queries that count by what `key` makes of them, in its order."""
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for row in self.scored:
            groups[key(self.done.layout.query[row])].append(row)
        return sorted(groups.items())

    def figures_of(self, queries: Sequence[int]) -> tuple[int, float, float]:
        """Return number, mAP and rank-1 of queries, in percent; see `query_columns`."""
        result = self.done.result
        precision = mean(result.average_precisions[row] for row in queries)
        first = mean(result.first_ranks[row] == 1 for row in queries)
        return len(queries), precision, 100 * first


def query_columns(subject: RetrievalSubject) -> tuple[Column, ...]:
    """Return the columns of `RetrievalSubject.figures_of`."""
    return (
        Column(title="queries", format=",d", is_number=True),
        Column(title="mAP (%)", format=".1f", is_number=True),
        Column(title=f"{subject.rank_1} (%)", format=".1f", is_number=True),
    )
