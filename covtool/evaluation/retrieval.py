"""How well images of the same identity are found."""

from dataclasses import dataclass

from torch import Tensor

from covtool.evaluation.feature_set import FeatureSet
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalResult:
    """What `evaluate_retrieval` measured; shares in percent, means over the queries that count.

    A query counts if there is a valid match, an image of its identity that is not ignored.

    Attributes:
        queries: How many count.
        left_out: How many do not.
        gallery: How many images were searched, without junk.
        has_cameras: Whether images of the query's identity and camera were ignored.
        cmc: By k, the share of queries with a match among the first k: rank-k, or Recall@k.
        mean_average_precision: mAP.
        mean_inverse_penalty: mINP: matches over the rank of the last one.
        r_precision: Share of matches among the first R, where there are R matches.
        map_at_r: mAP@R.
        average_precisions: Of each query, in the order of the queries; None where it was left out.
        matches: Of each query the first images of the ranking, as positions in the gallery, shape
            (queries and left out, as many as were asked for); -1 where there is none.
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
    average_precisions: tuple[float | None, ...]
    matches: Tensor

    @property
    def rank_1(self) -> float:
        """Share of queries whose first image is a match: rank-1, or Recall@1."""
        return self.cmc[1]

    def figures(self) -> tuple[tuple[str, float], ...]:
        """Names and values: re-identification's with cameras, else those of metric learning."""
        if self.has_cameras:
            ranks = [(f"rank-{k}", share) for k, share in self.cmc.items()]
            means = [("mAP", self.mean_average_precision), ("mINP", self.mean_inverse_penalty)]
        else:
            ranks = [(f"Recall@{k}", share) for k, share in self.cmc.items()]
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
    """Rank the gallery for each query, and judge the rankings.

    Args:
        query: What is looked for.
        gallery: Where; None to look for each of `query` among all the others.
        spec: Metric, re-ranking and memory; None for the defaults.
        keep: How many images of each ranking come along as `matches`.
        track: Shows the progress, by blocks of queries.

    Raises:
        ArgumentError: `max_memory` is too little even for the smallest blocks.
        DataError: No query has a valid match, or query and gallery do not belong together.
    """
    raise NotImplementedError
