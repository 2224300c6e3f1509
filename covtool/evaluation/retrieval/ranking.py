"""Ranking of a gallery for each query, and the figures of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import DataError
from covtool.evaluation.features.feature_set import FeatureSet
from covtool.evaluation.retrieval.camera_pairs import CameraFigures, CameraTally
from covtool.evaluation.retrieval.exact_search import ExactSearch, Search, SearchFeatures
from covtool.evaluation.retrieval.metrics import (
    RECALLS,
    RankingFigures,
    precision_at_recall,
    ranking_figures,
)
from covtool.evaluation.retrieval.pair_counts import PairTally
from covtool.evaluation.retrieval.relevance import Relevance, SameIdentity
from covtool.evaluation.retrieval.reranking import RerankedSearch
from covtool.evaluation.retrieval.verification import (
    PairHistogram,
    VerificationResult,
    pair_histogram,
    verification_figures,
)
from covtool.figure_names import RANKS, rank_words
from covtool.ops.ranking import first_of, ranks_of
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec

"""For which k CMC, or Recall@k, is given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalResult:
    """Figures of `evaluate_retrieval`: shares in percent, means over the queries that count.

    A query counts if there is a valid match, an image of its identity that is not ignored.

    Attributes:
        queries: Number of queries that count.
        left_out: Number of queries that do not.
        gallery: Images that were searched, without junk.
        has_cameras: Whether images of the query's identity and camera were ignored.
        cmc: Share of queries with a match among the first k, by k: rank-k, or Recall@k.
        mean_average_precision: mAP.
        mean_inverse_penalty: mINP: matches over the rank of the last one.
        r_precision: Share of matches among the first R, where there are R matches.
        map_at_r: mAP@R.
        planned_bytes: Planned memory of the search beside the features, at most.
        average_precisions: Average precision of each query, in order; None where it was left out.
        matches: First images of each query's ranking, as positions in the gallery, shape (queries
            and left out, as many as were asked for); -1 where there is none.
        verification: How well a threshold on the distance tells identities apart, over the pairs
            that are ranked; None where no image is of another identity.
        first_ranks: Rank of each query's first match, in order; None where it was left out.
        precision_at_recall: Mean interpolated precision in percent, for the recalls of
            `covtool.evaluation.retrieval.metrics.RECALLS`.
        pairs: Histogram of the pairs by their distance.
        by_camera: Figures by the gallery's cameras; None where they were not asked for, or cameras
            are not known or do not matter.
    """

    queries: int
    left_out: int
    gallery: int
    has_cameras: bool
    cmc: dict[int, float]
    mean_average_precision: float
    mean_inverse_penalty: float
    r_precision: float
    map_at_r: float
    planned_bytes: int
    average_precisions: tuple[float | None, ...]
    matches: Tensor
    verification: VerificationResult | None
    first_ranks: tuple[int | None, ...]
    precision_at_recall: tuple[float, ...]
    pairs: PairHistogram
    by_camera: CameraFigures | None = None

    @property
    def rank_1(self) -> float:
        """Share of queries whose first image is a match: rank-1, or Recall@1."""
        return self.cmc[1]

    def figures(self) -> tuple[tuple[str, float], ...]:
        """Return names and values: re-identification's with cameras, else metric learning's."""
        ranks = [
            (rank_words(k, has_cameras=self.has_cameras), share) for k, share in self.cmc.items()
        ]
        if self.has_cameras:
            means = [("mAP", self.mean_average_precision), ("mINP", self.mean_inverse_penalty)]
        else:
            means = [
                ("R-precision", self.r_precision),
                ("mAP@R", self.map_at_r),
                ("mAP", self.mean_average_precision),
            ]
        return (*ranks, *means)


def evaluate_retrieval(
    query: FeatureSet,
    gallery: FeatureSet | None = None,
    spec: RetrievalSpec | None = None,
    *,
    keep: int = 0,
    track: Track = silent,
) -> RetrievalResult:
    """Rank the gallery for each query, and score the rankings.

    Args:
        query: Images to search with.
        gallery: Images to search in; None, or the same object, to look for each of `query` among
            the others.
        spec: Metric, re-ranking and memory; None for the defaults.
        keep: Number of images of each ranking to return as `matches`.
        track: Display of the progress, by blocks of queries.

    Raises:
        ArgumentError: `max_memory` is too little even for the smallest blocks.
        DataError: No query has a valid match, or query and gallery do not belong together.
    """
    spec = spec or RetrievalSpec()
    # The same object means the same images, and a query must not find itself.
    gallery = None if gallery is query else gallery
    found_in = query if gallery is None else gallery
    if query.num_features != found_in.num_features:
        raise DataError(
            f"A query has {query.num_features} features, an image of the gallery "
            f"{found_in.num_features}.",
            hint="Extract both with the same model and the same --feature.",
        )
    features = SearchFeatures(
        query=query.features,
        gallery=found_in.features,
        relevance=Relevance(query.labels, None if gallery is None else gallery.labels),
    )
    return rank_gallery(features, spec, keep=keep, track=track)


def rank_gallery(
    features: SearchFeatures,
    spec: RetrievalSpec,
    *,
    keep: int = 0,
    by_camera: bool = False,
    track: Track = silent,
) -> RetrievalResult:
    """Rank the gallery for each query whose relevant images are known; see `evaluate_retrieval`.

    Args:
        features: Finite features of queries and gallery.
        spec: Metric, re-ranking and memory.
        keep: Number of images of each ranking to return as `matches`.
        by_camera: Whether to rank the images of each camera apart as well, where cameras matter.
        track: Display of the progress, by blocks of queries.

    Raises:
        ArgumentError: `max_memory` is too little even for the smallest blocks.
    """
    relevance = features.relevance
    search = RerankedSearch(features, spec, track) if spec.rerank else ExactSearch(features, spec)
    tally = PairTally(features.size, spec.memory_bytes)
    cameras = CameraTally(relevance) if by_camera and relevance.has_cameras else None
    figures, curve, matches = _rank(search, relevance, keep, (tally, cameras), track)
    precisions: list[float | None] = [None] * relevance.num_queries
    first_ranks: list[int | None] = [None] * relevance.num_queries
    scored = relevance.scored_queries.tolist()
    of_each = zip(
        scored, figures.average_precision.tolist(), figures.first_rank.tolist(), strict=True
    )
    for query, precision, first in of_each:
        precisions[query], first_ranks[query] = 100 * precision, int(first)
    counts = tally.counts()
    return RetrievalResult(
        queries=len(scored),
        left_out=relevance.num_queries - len(scored),
        gallery=len(relevance.gallery_rows),
        has_cameras=relevance.has_cameras,
        cmc={k: _percent(figures.first_rank <= k) for k in RANKS},
        mean_average_precision=_percent(figures.average_precision),
        mean_inverse_penalty=_percent(figures.inverse_penalty),
        r_precision=_percent(figures.r_precision),
        map_at_r=_percent(figures.average_precision_at_r),
        planned_bytes=search.plan.num_bytes,
        average_precisions=tuple(precisions),
        matches=matches,
        verification=verification_figures(counts, search.to_distance),
        first_ranks=tuple(first_ranks),
        precision_at_recall=tuple((100 * curve / len(scored)).tolist()),
        pairs=pair_histogram(counts, search.to_distance),
        by_camera=None if cameras is None else cameras.figures(),
    )


def compared_blocks(
    search: Search, relevance: Relevance, queries: Tensor, track: Track = silent
) -> Iterator[tuple[Tensor, Tensor, SameIdentity]]:
    """Yield blocks of queries with what orders the gallery for them, and its relevant images.

    Args:
        search: Comparison with the gallery, `search.plan.rows` queries at a time.
        relevance: Ground truth.
        queries: Queries that have a match, shape (Q,).
        track: Display of the progress, by blocks.

    Yields:
        The queries, shape (B,); values in the order of the distances, shape (B, G), infinite where
        an image is ignored, overwritten by the next block; the images of each query's identity.
    """
    blocks = queries.split(search.plan.rows)
    for block in track(blocks, "searching", len(blocks)):
        distances = search.compare(block)
        same = relevance.same_identity(block)
        # Ignored images go to the end, behind every finite distance: no rank counts them.
        rows, columns = same.is_ignored.nonzero(as_tuple=True)
        distances[rows, same.positions[rows, columns]] = torch.inf
        yield block, distances, same


def _rank(
    search: Search,
    relevance: Relevance,
    keep: int,
    tallies: tuple[PairTally, CameraTally | None],
    track: Track,
) -> tuple[RankingFigures, Tensor, Tensor]:
    """Return figures of the counted queries, and the first images of each query's ranking.

    Between them is the sum of the queries' precisions at `RECALLS`.

    The pairs that are ranked are counted in the first tally, cameras apart in the second.
    """
    tally, cameras = tallies
    figures, curve = [], torch.zeros(len(RECALLS), dtype=torch.float64)
    matches = torch.full((relevance.num_queries, min(keep, len(relevance.gallery_rows))), -1)
    blocks = compared_blocks(search, relevance, relevance.scored_queries, track)
    for queries, distances, same in blocks:
        tally.add(distances, search.base, same)
        ranks = ranks_of(distances, same.match_positions)
        figures.append(ranking_figures(ranks, same.is_match))
        curve += precision_at_recall(ranks, same.is_match).sum(0)
        if cameras is not None:
            cameras.add(queries, distances, same)
        if keep:
            first = first_of(distances, matches.shape[1])
            # A short ranking is filled up with ignored images: they are no matches.
            there = distances.gather(1, first) < torch.inf
            matches[queries] = torch.where(there, relevance.gallery_rows[first], -1)
    return RankingFigures.joined(figures), curve, matches


def _percent(shares: Tensor) -> float:
    return 100 * float(shares.double().mean())
