"""Re-ranking by k-reciprocal encoding, sparse and in blocks.

With N images, queries and gallery together, nothing of size N x N is ever held.

Source:
    Zhong, Zheng, Cao, Li. "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR
    2017. Where its code is more definite than the paper, as the code: distances are squared and
    divided by each image's largest, and the encodings are divided by their sums.
"""

import torch
from torch import Tensor

from covtool.evaluation.retrieval.comparisons import METRICS, Comparison
from covtool.evaluation.retrieval.exact_search import SearchFeatures, gather_rows, ranking_bytes
from covtool.evaluation.retrieval.memory_plan import (
    FLOAT,
    INDEX,
    BlockPlan,
    SearchSize,
    plan_blocks,
)
from covtool.evaluation.retrieval.pair_counts import counting_bytes
from covtool.evaluation.retrieval.reciprocal_encoding import PAIRS, Encoder
from covtool.ops.sparse_rows import SparseRows, add_minima_
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec

MINIMA = 2**18
"""Pairs of entries whose minima are taken at once."""
_BYTES_PER_PAIR = 64
_BYTES_PER_ENTRY = 64  # while it is sorted
_STORED = FLOAT + INDEX // 2  # value and column of an entry of a sparse matrix


class RerankedSearch:
    """Orders the gallery by the mean of the distance and that of the neighborhoods.

    Args:
        features: Queries and gallery: all but junk take part in the neighborhoods.
        spec: Metric, memory, and the numbers of the re-ranking.
        track: Display of the progress.

    Raises:
        ArgumentError: The memory allowed is too little.
    """

    def __init__(
        self, features: SearchFeatures, spec: RetrievalSpec, track: Track = silent
    ) -> None:
        relevance, size = features.relevance, features.size
        num_images = size.images
        self._num_queries = num_images - size.gallery
        # Queries come before the gallery among the images; shared ones are images of the gallery.
        self._places = relevance.own_positions
        if not relevance.is_shared:
            self._places = torch.full((size.queries,), -1)
            self._places[relevance.query_rows] = torch.arange(self._num_queries)
        self._weight = spec.distance_weight
        self.plan = plan_reranked(size, spec)
        self._comparison = METRICS[spec.metric]([features.query, features.gallery])
        self._features = _prepared(_sources(features), self._comparison, self.plan.columns)
        encoder = Encoder(self._features, self._comparison, rows=self.plan.rows, track=track)
        neighborhood = encoder.neighborhood(min(spec.reciprocal_neighbors + 1, num_images))
        self._farthest = neighborhood.farthest
        self._encodings = encoder.encode(neighborhood, spec.reciprocal_neighbors)
        self._averaged = neighborhood.neighbors[:, : spec.averaged_neighbors]
        # Transposed once: minima are added along the columns that two sparse rows share.
        self._by_column = [
            (rows, self._encoded(rows).transposed(num_images))
            for rows in torch.arange(self._num_queries, num_images).split(self.plan.columns)
        ]
        self._rows = torch.empty(self.plan.rows, size.gallery)

    def compare(self, queries: Tensor) -> Tensor:
        rows = self._places[queries]
        self.base = self._features.new_zeros(len(rows), 1)  # distances already
        encoded = self._encoded(rows)
        found = self._rows[: len(rows)]
        x, gallery = self._features[rows], self._features[self._num_queries :]
        self._comparison.distances(x, gallery, found)
        # Divided by each query's farthest image, as in the published code.
        found *= self._weight / self._farthest[rows][:, None]
        for images, by_column in self._by_column:
            shared = torch.zeros(len(rows), len(images))
            add_minima_(shared, encoded, by_column, at_once=MINIMA)
            # Rows add up to 1, so that the sum of the maxima is 2 less that of the minima.
            jaccard = shared.div_(2 - shared).neg_().add_(1)
            first = int(images[0]) - self._num_queries
            found[:, first : first + len(images)].add_(jaccard, alpha=1 - self._weight)
        return found

    def to_distance(self, compared: float) -> float:
        return compared

    def _encoded(self, rows: Tensor) -> SparseRows:
        """Return encodings of some images: the means over their nearest neighbors."""
        return self._encodings.mean_of(self._averaged[rows], len(self._features))


def plan_reranked(size: SearchSize, spec: RetrievalSpec) -> BlockPlan:
    """Return the blocks of a `RerankedSearch`.

    Raises:
        ArgumentError: The memory allowed is too little.
    """
    cost = _Cost(size, spec)
    return plan_blocks("The re-ranking", cost, (size.images, size.gallery), spec.memory_bytes)


class _Cost:
    """Memory of a re-ranking, by the size of its blocks.

    The size of an encoding is known only once it is computed: the largest possible one counts.
    """

    def __init__(self, size: SearchSize, spec: RetrievalSpec) -> None:
        num_images = size.images
        k = min(spec.reciprocal_neighbors + 1, num_images)
        # Half of k1, rounded as in the published code, expands the reciprocal neighbors.
        h = min(round(spec.reciprocal_neighbors / 2) + 1, num_images)
        entries = min(k + k * h, num_images)
        averaged = min(spec.averaged_neighbors * entries, num_images)
        D, G = size.num_features, size.gallery
        self._fixed = (
            counting_bytes(size, spec.memory_bytes)
            + FLOAT * num_images * D
            + num_images * ((INDEX + FLOAT + 1) * k + h)
            + 2 * num_images * (_STORED * entries + INDEX)  # in parts, then joined
            + G * (_STORED * averaged + INDEX)
            + FLOAT * PAIRS * D * 3
            + MINIMA * _BYTES_PER_PAIR
        )
        averaging = _BYTES_PER_ENTRY * spec.averaged_neighbors * entries
        comparing = ranking_bytes(size, items=num_images) + FLOAT * D * 2 + averaging
        encoding = 4 * k * h * k + _BYTES_PER_ENTRY * (2 * k + k * h)
        self._row = max(comparing, encoding)
        self._column = FLOAT * D * 3 + averaging
        self._gallery, self._starts = G, INDEX * (num_images + 1)

    def __call__(self, rows: int, columns: int) -> int:
        starts = self._starts * -(-self._gallery // columns)
        shared = 3 * FLOAT * rows * columns
        return self._fixed + rows * self._row + columns * self._column + starts + shared


def _sources(features: SearchFeatures) -> list[tuple[Tensor, Tensor]]:
    """Return feature matrices and the rows of them that take part: the gallery's come last."""
    relevance = features.relevance
    gallery = (features.gallery, relevance.gallery_rows)
    return [gallery] if relevance.is_shared else [(features.query, relevance.query_rows), gallery]


def _prepared(sources: list[tuple[Tensor, Tensor]], comparison: Comparison, at_once: int) -> Tensor:
    """Return prepared features of all images, shape (N, D)."""
    shape = (sum(len(rows) for _, rows in sources), sources[0][0].shape[1])
    prepared, start = torch.empty(shape), 0
    for features, rows in sources:
        for part in rows.split(at_once):
            prepared[start : start + len(part)] = comparison.prepare(gather_rows(features, part))
            start += len(part)
    return prepared
