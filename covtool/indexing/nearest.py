"""The nearest images of a gallery, in blocks that fit into the memory allowed.

Blocks are compared in float32; what may be among the nearest is compared once more in float64, so
that equal images have the distance 0 and ties are ranked in the gallery's order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.evaluation.retrieval.exact_search import ExactSearch, SearchFeatures
from covtool.evaluation.retrieval.memory_plan import SearchSize
from covtool.evaluation.retrieval.reranking import RerankedSearch
from covtool.indexing.distances import distances_of_pairs
from covtool.ops.ranking import first_of
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec

MARGIN = 16
"""Images beyond the nearest that are compared in float64: rounding may have changed the order."""

VALUES = 2**21
"""Numbers that are compared in float64 at once: 16 MB, and three times that for the steps."""

SAME = 1e-9
"""Cosine distance of features of one image that were computed in two batches, at most."""

Excluded = Callable[[Tensor], Tensor | None]
"""Queries, shape (B,), to whether each image of the gallery is left out, (B, N); None for none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The images that are the nearest to a query.

    Attributes:
        places: Places in the gallery, the nearest first; fewer than asked for where others are
            left out.
        distances: Their distances in float64.
    """

    places: Tensor
    distances: Tensor


class UnknownRelevance:
    """What a search needs to know of its images, where nothing says which are matches.

    It stands where `covtool.evaluation.retrieval.relevance.Relevance` stands in an evaluation: all
    images take part.

    Attributes:
        num_queries: Number of queries.
        query_rows: All queries.
        gallery_rows: All images of the gallery.
        own_positions: Place of each query in the gallery: -1, as they are other images.
        is_shared: Whether they are the same images; they are not.
    """

    is_shared = False

    def __init__(self, queries: int, gallery: int) -> None:
        self.num_queries = queries
        self.query_rows = torch.arange(queries)
        self.gallery_rows = torch.arange(gallery)
        self.own_positions = torch.full((queries,), -1)

    def size(self, num_features: int) -> SearchSize:
        """Return the counts that the memory of a search depends on."""
        gallery = len(self.gallery_rows)
        return SearchSize(
            queries=self.num_queries,
            gallery=gallery,
            images=gallery + self.num_queries,
            images_per_identity=0,
            num_features=num_features,
            has_pairs=False,
        )


def find_nearest(
    features: SearchFeatures,
    spec: RetrievalSpec,
    k: int,
    *,
    excluded: Excluded = lambda _: None,
    track: Track = silent,
) -> Iterator[Nearest]:
    """Yield the nearest images of each query, in order.

    Args:
        features: Features of queries and gallery, with `UnknownRelevance`.
        spec: Metric, re-ranking and memory. Re-ranked images are in the order of the re-ranking,
            with their plain distances.
        k: Number of images to find.
        excluded: Images that are left out.
        track: Display of the progress.

    Raises:
        ArgumentError: The memory allowed is too little.
    """
    search = RerankedSearch(features, spec, track) if spec.rerank else ExactSearch(features, spec)
    count = min(k + (0 if spec.rerank else MARGIN), len(features.gallery))
    blocks = features.relevance.query_rows.split(search.plan.rows)
    for rows in track(blocks, "searching", len(blocks)):
        distances = search.compare(rows)
        left_out = excluded(rows)
        if left_out is not None:
            distances.masked_fill_(left_out, torch.inf)
        found = first_of(distances, count)
        places = torch.where(distances.gather(1, found) < torch.inf, found, -1)
        yield from nearest_of(
            features.query[rows], features.gallery, places, spec.metric, k, in_order=spec.rerank
        )


def nearest_of(
    queries: Tensor,
    gallery: Tensor,
    places: Tensor,
    metric: str,
    k: int,
    *,
    in_order: bool = False,
) -> Iterator[Nearest]:
    """Yield the nearest of some images for each query, compared in float64.

    Args:
        queries: Features of the queries, shape (B, D).
        gallery: Features of the gallery, shape (N, D).
        places: Places of each query's images in the gallery, shape (B, m); -1 for none.
        metric: Distance between two images.
        k: Number of images to return, at most.
        in_order: Whether the images stay in the order that they are given in.
    """
    # In the gallery's order: the stable sort leaves equal images in it.
    places = places if in_order else places.sort(dim=1).values
    at_once = max(1, VALUES // max(1, places.shape[1] * gallery.shape[1]))
    for x, rows in zip(queries.split(at_once), places.split(at_once), strict=True):
        distances = distances_of_pairs(x[:, None], gallery[rows.clamp_min(0)], metric)
        distances[rows < 0] = torch.inf
        if not in_order:
            order = distances.argsort(dim=1, stable=True)
            rows, distances = rows.gather(1, order), distances.gather(1, order)
        for own, found in zip(rows, distances, strict=True):
            there = own >= 0
            yield Nearest(places=own[there][:k], distances=found[there][:k])


def itself_first(
    found: Nearest, own: int, query: Tensor, metric: str, itself: Tensor | None = None
) -> Nearest:
    """Return what was found, the query itself before images that are equal to it but for rounding.

    Args:
        found: Images that were found.
        own: Place of the query in the gallery; -1 where it is none of its images.
        query: Features of the query, shape (D,).
        metric: Distance between two images.
        itself: The gallery's features of the query, which takes the place of the last of its
            copies where they are all that was found; None where it may not be found.
    """
    # A Euclidean distance of unit vectors is the root of twice the cosine distance.
    tie = SAME if metric == "cosine" else (2 * SAME) ** 0.5 * float(query.double().norm())
    places, distances = found.places, found.distances
    at = (places == own).nonzero()[:, 0]
    if own < 0 or not len(places) or (not len(at) and itself is None):
        return found
    if not len(at):
        distance = distances_of_pairs(query[None, None], itself[None, None], metric)[0]
        places = torch.cat([places, places.new_tensor([own])])
        distances = torch.cat([distances, distance])
    rank = int(at[0]) if len(at) else len(places) - 1
    if not (distances[: rank + 1] <= tie).all():
        return found
    order = [rank, *range(rank), *range(rank + 1, len(places))][: len(found.places)]
    return Nearest(places=places[order], distances=distances[order])


def exact_nearest(
    queries: Tensor, gallery: Tensor, metric: str, k: int, *, excluded: Tensor
) -> Tensor:
    """Return places of the nearest images, shape (Q, k), without one image for each query.

    Args:
        queries: Features of the queries, shape (Q, D).
        gallery: Features of the gallery, shape (N, D), with N above k.
        metric: Distance between two images.
        k: Number of images to find.
        excluded: Place of the image that each query is, shape (Q,).
    """
    features = SearchFeatures(
        query=queries,
        gallery=gallery,
        relevance=UnknownRelevance(len(queries), len(gallery)),
    )
    columns = torch.arange(len(gallery))
    found = find_nearest(
        features,
        RetrievalSpec(metric=metric),
        k,
        excluded=lambda rows: columns == excluded[rows][:, None],
    )
    return torch.stack([nearest.places for nearest in found])
