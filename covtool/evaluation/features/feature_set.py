"""Images of a search: a feature vector each, an identity, and perhaps a camera."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from covtool.errors import DataError, ShapeError

JUNK_LABEL = -1
"""Identity of images that are neither right nor wrong, as in Market-1501: they are ignored."""
DISTRACTOR = 0
"""Identity of images that are always wrong, as in Market-1501: no query has it."""


class IdentityLabels(NamedTuple):
    """Ground truth of images: whom each shows, and which camera took it.

    Attributes:
        identities: Identity that an image shows, shape (N,), int64; `JUNK_LABEL` is ignored.
        cameras: Camera that took it, shape (N,), int64; None where cameras do not matter.
    """

    identities: Tensor
    cameras: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSet:
    """Images with their features: queries, or a gallery to search in.

    Attributes:
        features: Finite features, shape (N, D), float32.
        identities: Identity that an image shows, shape (N,), int64; `JUNK_LABEL` is ignored.
        cameras: Camera that took it, shape (N,), int64; None where it is unknown.

    Raises:
        DataError: There are no images, the lengths differ, or a feature is not finite.
        ShapeError: The features are no matrix.
    """

    features: Tensor
    identities: Tensor
    cameras: Tensor | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2:
            raise ShapeError.expected("features", "(N, D)", self.features)
        if not self.features.numel():
            raise DataError("There are no features to search in.")
        for name in ("identities", "cameras"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self):
                raise DataError(
                    f"There are features of {len(self)} images, but {len(column)} {name}."
                )
        refuse_non_finite(self.features)

    @property
    def labels(self) -> IdentityLabels:
        """Identities and cameras, without the features."""
        return IdentityLabels(self.identities, self.cameras)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def num_features(self) -> int:
        """D."""
        return self.features.shape[1]


def refuse_non_finite(features: Tensor) -> None:
    """Refuse features, (N, D), that are not finite.

    Raises:
        DataError: One of them is not a finite number; it says of which image.
    """
    # NaN if any feature of the row is; `isfinite` of all would need a mask as large as a quarter
    # of the features.
    low, high = torch.aminmax(features, dim=1)
    finite = low.isfinite() & high.isfinite()
    if not finite.all():
        row = int((~finite).nonzero()[0])
        raise DataError(
            f"The features of {int((~finite).sum())} of {len(features)} images are not finite "
            f"numbers; the first is that of image {row}.",
            hint="covtool inspect says whether the weights hold non-finite values.",
        )
