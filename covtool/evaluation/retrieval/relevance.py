"""Which images of a gallery are right for a query, and which are ignored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import DataError
from covtool.evaluation.features.feature_set import JUNK, IdentityLabels
from covtool.evaluation.retrieval.memory_plan import SearchSize


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """The images of the identity of each of B queries, r at most; rows of fewer are filled up.

    Attributes:
        items: Places in `Relevance.kept`, shape (B, r).
        right: Which of them are matches, shape (B, r).
        ignored: Which of them do not take part in the ranking, shape (B, r); none of `right`.
    """

    items: Tensor
    right: Tensor
    ignored: Tensor

    @property
    def matches(self) -> Tensor:
        """`items`, with a match in place of what is none: of each query there is one."""
        one = self.items.gather(1, self.right.int().argmax(1, keepdim=True))
        return torch.where(self.right, self.items, one)


class Relevance:
    """Judges images by identity and camera.

    Junk is left out from the start. Of the rest, an image of the query's identity is a match,
    unless it is the query itself or the same camera took it: then it is ignored.

    Args:
        query: What is looked for.
        gallery: Where; None for each of `query` among the others.

    Attributes:
        kept: The images of the gallery that are not junk, shape (G,).
        asked: The queries that are not junk.
        itself: The place of each query in `kept`, shape (Q,); -1 where it is not in the gallery.
        is_shared: Whether query and gallery are the same images.
        counted: The queries that have a match.
        most: Images of one identity, at most: r of `Judged` is no more.

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
        self.kept = (found_in.identities != JUNK).nonzero()[:, 0]
        self.asked = (query.identities != JUNK).nonzero()[:, 0]
        self.is_shared = gallery is None
        self.itself = torch.full((len(query.identities),), -1)
        if gallery is None:
            self.itself[self.kept] = torch.arange(len(self.kept))
        self._identities = query.identities
        self._cameras = query.cameras
        self._kept_cameras = None if found_in.cameras is None else found_in.cameras[self.kept]
        kept_identities = found_in.identities[self.kept]
        self._by_identity = kept_identities.argsort(stable=True)
        sorted_identities = kept_identities[self._by_identity]
        self._starts = torch.searchsorted(sorted_identities, query.identities)
        ends = torch.searchsorted(sorted_identities, query.identities, right=True)
        self._counts = ends - self._starts
        self.counted = self._with_a_match(kept_identities)
        self.most = int(self._counts[self.counted].max())

    @property
    def num_queries(self) -> int:
        """Q, queries without a match and junk among them included."""
        return len(self._identities)

    @property
    def has_cameras(self) -> bool:
        """Whether images of the query's identity and camera are ignored."""
        return self._cameras is not None

    def size(self, num_features: int) -> SearchSize:
        """Return the counts that the memory of a search depends on.

        Args:
            num_features: Numbers that describe an image.
        """
        others = 0 if self.is_shared else len(self.asked)
        return SearchSize(
            queries=self.num_queries,
            gallery=len(self.kept),
            images=len(self.kept) + others,
            images_per_identity=self.most,
            num_features=num_features,
        )

    def judge(self, queries: Tensor) -> Judged:
        """What `kept` holds of the identity of some queries, shape (B,), the most of them first."""
        counts = self._counts[queries][:, None]
        column = torch.arange(int(counts.max()))
        there = column < counts
        places = torch.where(there, self._starts[queries][:, None] + column, 0)
        items = self._by_identity[places]
        ignored = there & (items == self.itself[queries][:, None])
        if self._kept_cameras is not None:
            same_camera = self._kept_cameras[items] == self._cameras[queries][:, None]
            ignored |= there & same_camera
        return Judged(items=items, right=there & ~ignored, ignored=ignored)

    def _with_a_match(self, kept_identities: Tensor) -> Tensor:
        matches = self._counts - self._ignored_counts(kept_identities)
        counted = (matches > 0).nonzero()[:, 0]
        if not len(counted):
            alone = int((self._counts == self._in_itself).sum())
            raise DataError(
                "No query has a match in the gallery.",
                reason=f"Of {len(matches)} queries, {alone} have no other image of their identity "
                f"there, {len(matches) - alone} only images of their own camera.",
                hint="Look at the columns identity, camera and split of the data; without "
                "cameras, images of the same camera count.",
            )
        return counted

    @property
    def _in_itself(self) -> Tensor:
        return (self.itself >= 0).long()

    def _ignored_counts(self, kept_identities: Tensor) -> Tensor:
        """Return how many images of each query's identity are ignored, shape (Q,)."""
        if self._kept_cameras is None:
            return self._in_itself
        pairs = torch.stack([kept_identities, self._kept_cameras], 1)
        own = torch.stack([self._identities, self._cameras], 1)
        _, codes = torch.unique(torch.cat([pairs, own]), dim=0, return_inverse=True)
        of_kept, of_query = codes.split([len(pairs), len(own)])
        return torch.bincount(of_kept, minlength=int(codes.max()) + 1)[of_query]
