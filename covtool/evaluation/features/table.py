"""Features with labels of their images, as files hold them: in words, not in codes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from covtool.data.datasets.found_images import shown
from covtool.errors import DataError
from covtool.evaluation.features.feature_set import (
    JUNK_LABEL,
    FeatureSet,
    IdentityLabels,
    refuse_non_finite,
)

QUERY, GALLERY, TEST = "query", "gallery", "test"


class ImageLabels(NamedTuple):
    """Labels of an image; empty where they are unknown."""

    path: str = ""
    identity: str = ""
    camera: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureTable:
    """Images with features and labels.

    Attributes:
        features: Finite features, shape (N, D), float32.
        labels: Labels of the N images.

    Raises:
        DataError: There are no images, the lengths differ, or a feature is not finite.
    """

    features: Tensor
    labels: tuple[ImageLabels, ...]

    def __post_init__(self) -> None:
        if not self.features.numel():
            raise DataError("There are no features.")
        if len(self.labels) != len(self.features):
            raise DataError(
                f"There are features of {len(self.features)} images, but labels of "
                f"{len(self.labels)}."
            )
        refuse_non_finite(self.features)

    def column(self, name: str) -> list[str]:
        """Return one label of all images: ``path``, ``identity``, ``camera`` or ``split``."""
        return [getattr(label, name) for label in self.labels]

    def of_split(self, split: str) -> "FeatureTable":
        """Return the images of a split.

        Raises:
            DataError: There are none.
        """
        chosen = [place for place, label in enumerate(self.labels) if label.split == split]
        if not chosen:
            known = sorted(set(self.column("split")))
            raise DataError(
                f"There are no features of a split called {split!r}, only: {shown(known)}."
            )
        labels = tuple(self.labels[place] for place in chosen)
        return FeatureTable(features=self.features[chosen], labels=labels)

    def query_and_gallery(self) -> "tuple[FeatureTable, FeatureTable | None]":
        """Return query and gallery; without such splits ``test``, or else all images, and None.

        Raises:
            DataError: There is only one of them.
        """
        splits = set(self.column("split"))
        if splits.isdisjoint({QUERY, GALLERY}):
            return (self.of_split(TEST) if TEST in splits else self), None
        return self.of_split(QUERY), self.of_split(GALLERY)


def feature_sets(
    query: FeatureTable, gallery: FeatureTable | None = None
) -> tuple[FeatureSet, FeatureSet | None]:
    """Return query and gallery with numbers for the names of their identities and cameras.

    The same names get the same numbers, whole numbers their own; `JUNK_LABEL` stays what it is.

    Args:
        query: Images to search with.
        gallery: Images to search in; None for each of `query` among the others.

    Raises:
        DataError: An identity is missing, or some cameras are.
    """
    own, others = identity_labels(query.labels, None if gallery is None else gallery.labels)
    queries = FeatureSet(features=query.features, **own._asdict())
    if gallery is None:
        return queries, None
    return queries, FeatureSet(features=gallery.features, **others._asdict())


def identity_labels(
    query: Sequence[ImageLabels], gallery: Sequence[ImageLabels] | None = None
) -> tuple[IdentityLabels, IdentityLabels | None]:
    """Return numbers for the names of identities and cameras, as `feature_sets` does.

    Args:
        query: Images to search with.
        gallery: Images to search in; None for `query`.

    Raises:
        DataError: An identity is missing, or some cameras are.
    """
    sides = [query] if gallery is None else [query, gallery]
    identities = _numbered([_complete(side, "identity") for side in sides])
    cameras: Sequence[Tensor | None] = [None] * len(sides)
    if any(label.camera for side in sides for label in side):
        cameras = _numbered([_complete(side, "camera") for side in sides])
    numbered = [IdentityLabels(*columns) for columns in zip(identities, cameras, strict=True)]
    return numbered[0], None if gallery is None else numbered[1]


def _complete(labels: Sequence[ImageLabels], name: str) -> list[str]:
    column = [getattr(label, name) for label in labels]
    missing = column.count("")
    if missing:
        raise DataError(
            f"{missing} of {len(column)} images have no {name}.",
            hint="A search is judged by identities. Cameras are optional, for all images alike.",
        )
    return column


def _numbered(columns: Sequence[Sequence[str]]) -> list[Tensor]:
    names = {name for column in columns for name in column}
    numbers = {name: _whole_number(name) for name in names}
    # Numbers stay, so that junk and distractors keep their meaning; two names of one number ("1"
    # and "01") are two identities, and then all names are counted instead.
    if None in numbers.values() or len(set(numbers.values())) < len(names):
        numbers = {name: place for place, name in enumerate(sorted(names), start=1)}
        numbers |= {str(JUNK_LABEL): JUNK_LABEL} if str(JUNK_LABEL) in names else {}
    return [torch.tensor([numbers[name] for name in column]) for column in columns]


def _whole_number(text: str) -> int | None:
    # 17 characters fit into int64.
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 18 else None
