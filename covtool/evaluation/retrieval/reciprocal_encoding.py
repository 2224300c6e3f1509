"""Encoding of images by their k-reciprocal neighbors, in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.evaluation.retrieval.comparisons import Comparison
from covtool.ops.k_reciprocal import expanded, reciprocal
from covtool.ops.ranking import first_of
from covtool.ops.sparse_rows import SparseRows
from covtool.progress import Track

PAIRS = 2048
"""Pairs of images whose distances are computed at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighborhood:
    """Nearest images of each of N images.

    Attributes:
        neighbors: Nearest images, itself first, of equal ones the first, shape (N, K).
        distances: Distances to them, as a `Comparison` measures them, shape (N, K).
        farthest: Distance to the farthest image, 1 where all are equal, shape (N,).
    """

    neighbors: Tensor
    distances: Tensor
    farthest: Tensor


class Encoder:
    """Neighborhoods and encodings of N images, by blocks of rows.

    Args:
        features: Features that `comparison` has prepared, shape (N, D).
        comparison: Comparison of the features.
        rows: Rows of a block.
        track: Display of the progress, by blocks.
    """

    def __init__(
        self, features: Tensor, comparison: Comparison, *, rows: int, track: Track
    ) -> None:
        self._features, self._comparison = features, comparison
        self._rows, self._track = rows, track

    def neighborhood(self, count: int) -> Neighborhood:
        """Return the first `count` neighbors of every image, by comparing all with all."""
        size = len(self._features)
        neighbors = torch.empty(size, count, dtype=torch.int64)
        distances, farthest = torch.empty(size, count), torch.empty(size)
        buffer = torch.empty(self._rows, size)
        for rows in self._blocks("comparing all with all"):
            x, found = self._features[rows], buffer[: len(rows)]
            self._comparison.compare(x, self._features, found)
            base = self._comparison.base(x)
            farthest[rows] = (found.amax(1) + base[:, 0]).clamp_min_(0)
            # Itself first, whatever rounding and duplicates say: the published code relies on it.
            found[torch.arange(len(rows)), rows] = -torch.inf
            first = first_of(found, count)
            neighbors[rows] = first
            distances[rows] = (found.gather(1, first) + base).clamp_min_(0)
        return Neighborhood(
            neighbors=neighbors,
            distances=distances,
            # All images equal: any divisor does, but not 0.
            farthest=torch.where(farthest > 0, farthest, 1.0),
        )

    def encode(self, neighborhood: Neighborhood, k1: int) -> SparseRows:
        """Return weights of every image's expanded k-reciprocal neighbors; rows add up to 1."""
        near = self._reciprocal(neighborhood.neighbors, k1 + 1)
        nearer = self._reciprocal(neighborhood.neighbors, round(k1 / 2) + 1)
        parts = []
        for rows in self._blocks("encoding"):
            places, members = expanded(neighborhood.neighbors, near, nearer, rows)
            distances = self._distances(neighborhood, rows, places, members)
            # Neither exponent nor sum can overflow: a distance over the farthest is at most 1.
            weights = torch.exp(-distances / neighborhood.farthest[rows][places])
            sums = torch.zeros(len(rows)).index_add_(0, places, weights)
            values = weights / sums[places]
            parts.append(SparseRows.of_entries(places, members, values, len(rows)))
        return SparseRows.joined(parts)

    def _reciprocal(self, neighbors: Tensor, count: int) -> Tensor:
        count = min(count, neighbors.shape[1])
        blocks = torch.arange(len(neighbors)).split(self._rows)
        return torch.cat([reciprocal(neighbors, rows, count) for rows in blocks])

    def _distances(
        self, neighborhood: Neighborhood, rows: Tensor, places: Tensor, members: Tensor
    ) -> Tensor:
        """Return distances of pairs: most are in the neighborhood, the others are computed."""
        size = len(self._features)
        count = neighborhood.neighbors.shape[1]
        # A pair is one number, row of the block times N plus member: sorted, it is found by
        # bisection, and no N x N table is needed.
        known_keys = torch.arange(len(rows))[:, None] * size + neighborhood.neighbors[rows]
        known_keys, order = known_keys.flatten().sort()
        keys = places * size + members
        found = torch.searchsorted(known_keys, keys).clamp_max_(len(rows) * count - 1)
        distances = neighborhood.distances[rows].flatten()[order[found]]
        unknown = (known_keys[found] != keys).nonzero()[:, 0]
        for part in unknown.split(PAIRS):
            x = self._features[rows[places[part]]]
            distances[part] = self._comparison.of_pairs(x, self._features[members[part]])
        return distances

    def _blocks(self, description: str) -> Iterator[Tensor]:
        blocks = torch.arange(len(self._features)).split(self._rows)
        return self._track(blocks, description, len(blocks))
