"""Ground truth of a search: which images of a gallery are matches of a query, which are ignored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import DataError
from covtool.evaluation.features.feature_set import JUNK_LABEL, IdentityLabels
from covtool.evaluation.retrieval.memory_plan import SearchSize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SameIdentity:
    """The images of the identity of each of B queries, r at most; shorter rows are filled up.

    Attributes:
        positions: Positions in `Relevance.gallery_rows`, shape (B, r).
        is_match: Whether each is a match, shape (B, r).
        is_ignored: Whether each is left out of the ranking, shape (B, r); no match is.
    """

    positions: Tensor
    is_match: Tensor
    is_ignored: Tensor

    @property
    def match_positions(self) -> Tensor:
        """`positions`, with a match of the same query in place of what is none."""
        a_match = self.positions.gather(1, self.is_match.int().argmax(1, keepdim=True))
        return torch.where(self.is_match, self.positions, a_match)


class Relevance:
    """Relevance of gallery images to queries, by identity and camera.

    Junk is left out from the start. Of the rest, an image of the query's identity is a match,
    unless it is the query itself or the same camera took it: then it is ignored.

    Args:
        query: Identities and cameras of the queries.
        gallery: Those of the gallery; None to look for each of `query` among the others.

    Attributes:
        gallery_rows: Images of the gallery that are not junk, shape (G,).
        query_rows: Queries that are not junk.
        own_positions: Position of each query in `gallery_rows`, shape (Q,); -1 outside of it.
        is_shared: Whether query and gallery are the same images.
        scored_queries: Queries that have a match.
        max_per_identity: Images of one query's identity, at most; the largest r of `SameIdentity`.

    Raises:
        DataError: No query has a match, or only one of both sets has cameras.
    """

    def __init__(self, query: IdentityLabels, gallery: IdentityLabels | None) -> None:
        found_in = query if gallery is None else gallery
        if (query.cameras is None) != (found_in.cameras is None):
            raise DataError(
                "Only one of query and gallery has cameras.",
                hint="Give both, or none to let images of the same camera count.",
            )
        self.is_shared = gallery is None
        self.gallery_rows = (found_in.identities != JUNK_LABEL).nonzero()[:, 0]
        self.query_rows = (query.identities != JUNK_LABEL).nonzero()[:, 0]
        self.own_positions = torch.full((len(query.identities),), -1)
        if gallery is None:
            self.own_positions[self.gallery_rows] = torch.arange(len(self.gallery_rows))
        self._query = query
        self._gallery = IdentityLabels(
            found_in.identities[self.gallery_rows],
            None if found_in.cameras is None else found_in.cameras[self.gallery_rows],
        )
        # Images of one identity stand together in this order, so that a query's are one slice.
        self._by_identity = self._gallery.identities.argsort(stable=True)
        in_order = self._gallery.identities[self._by_identity]
        self._starts = torch.searchsorted(in_order, query.identities)
        ends = torch.searchsorted(in_order, query.identities, right=True)
        self._counts = ends - self._starts
        self.scored_queries = self._find_scored()
        self.max_per_identity = int(self._counts[self.scored_queries].max())

    @property
    def num_queries(self) -> int:
        """Q, queries without a match and junk among them included."""
        return len(self._query.identities)

    @property
    def has_cameras(self) -> bool:
        """Whether images of the query's identity and camera are ignored."""
        return self._query.cameras is not None

    @property
    def gallery_cameras(self) -> Tensor | None:
        """Camera of each of `gallery_rows`, shape (G,); None where cameras do not matter."""
        return self._gallery.cameras

    def size(self, num_features: int) -> SearchSize:
        """Return the counts that the memory of a search depends on.

        Args:
            num_features: Features of an image.
        """
        others = 0 if self.is_shared else len(self.query_rows)
        return SearchSize(
            queries=self.num_queries,
            gallery=len(self.gallery_rows),
            images=len(self.gallery_rows) + others,
            images_per_identity=self.max_per_identity,
            num_features=num_features,
        )

    def same_identity(self, queries: Tensor) -> SameIdentity:
        """Return the gallery's images of the identity of each query, shape (B,)."""
        counts = self._counts[queries][:, None]
        column = torch.arange(int(counts.max()))
        is_there = column < counts
        places = torch.where(is_there, self._starts[queries][:, None] + column, 0)
        positions = self._by_identity[places]
        is_ignored = is_there & (positions == self.own_positions[queries][:, None])
        if self.has_cameras:
            same_camera = self._gallery.cameras[positions] == self._query.cameras[queries][:, None]
            is_ignored |= is_there & same_camera
        is_match = is_there & ~is_ignored
        return SameIdentity(positions=positions, is_match=is_match, is_ignored=is_ignored)

    def _find_scored(self) -> Tensor:
        matches = self._counts - self._count_ignored()
        scored = (matches > 0).nonzero()[:, 0]
        if not len(scored):
            alone = int((self._counts == self._is_in_gallery).sum())
            raise DataError(
                "No query has a match in the gallery.",
                reason=f"Of {len(matches)} queries, {alone} have no other image of their identity "
                f"there, {len(matches) - alone} only images of their own camera.",
                hint="Look at the columns identity, camera and split of the data; without "
                "cameras, images of the same camera count.",
            )
        return scored

    @property
    def _is_in_gallery(self) -> Tensor:
        return (self.own_positions >= 0).long()

    def _count_ignored(self) -> Tensor:
        """Return how many images of each query's identity are ignored, shape (Q,)."""
        if not self.has_cameras:
            return self._is_in_gallery
        # A query in the gallery has its own camera: it is among these pairs, not to be added.
        pairs = torch.stack([self._gallery.identities, self._gallery.cameras], 1)
        own = torch.stack([self._query.identities, self._query.cameras], 1)
        _, codes = torch.unique(torch.cat([pairs, own]), dim=0, return_inverse=True)
        of_gallery, of_query = codes.split([len(pairs), len(own)])
        return torch.bincount(of_gallery, minlength=int(codes.max()) + 1)[of_query]
