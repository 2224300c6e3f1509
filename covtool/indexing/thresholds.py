"""The distance beyond which an image is no match, chosen on pairs whose identities are known."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from covtool.data.datasets.checking import check_images
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import JUNK_IDENTITY
from covtool.errors import DataError
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.retrieval.verification import threshold_at
from covtool.indexing.distances import distances_among
from covtool.indexing.gallery import FoundImages, collect_images
from covtool.indexing.index_record import ThresholdRecord
from covtool.printable import printable
from covtool.progress import Track
from covtool.specs.indexing import IndexSpec

MOST_IMAGES = 3_000
"""Images in the pairs: 4.5 million pairs, whose distances take 36 MB in float64."""

ROUNDING = 1e-12
"""Difference between two ways of computing a distance in float64: a search must not accept the pair
that was refused when the threshold was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedImages:
    """Images whose pairs a threshold is chosen on.

    Attributes:
        rows: Places of the images among those that were offered, ascending.
        identities: Number of each one's identity.
        cameras: Number of each one's camera; negative and different where it is unknown.
        left_out: Images of known identities that there was no room for.
    """

    rows: tuple[int, ...]
    identities: Tensor
    cameras: Tensor
    left_out: int

    @property
    def num_identities(self) -> int:
        """Number of identities."""
        return len(self.identities.unique())


def paired_images(labels: Sequence[ImageLabels], rate: float) -> PairedImages:
    """Return the images whose pairs a threshold is chosen on, before there are features.

    Whole identities are drawn, the same ones each time, up to `MOST_IMAGES`.

    Args:
        labels: Labels of all images that are offered.
        rate: Share of pairs of two identities that may pass.

    Raises:
        DataError: Identities are unknown, or there are too few pairs for the rate.
    """
    of_identity = _known_identities(labels)
    if len(of_identity) < 2:
        raise DataError(
            "A threshold cannot be chosen: "
            + ("all images show one identity." if of_identity else "no identity is known."),
            hint="Give images whose identities are known: --threshold-data DIR. A data set for "
            "retrieval has them, a folder per class, or a CSV with the column identity.",
        )
    drawn = _drawn(of_identity)
    rows = sorted(row for name in drawn for row in of_identity[name])
    identities = _numbers([labels[row].identity for row in rows])
    cameras = _camera_numbers([labels[row].camera for row in rows])
    total = sum(map(len, of_identity.values()))
    chosen = PairedImages(
        rows=tuple(rows), identities=identities, cameras=cameras, left_out=total - len(rows)
    )
    _require_pairs(chosen, rate)
    return chosen


def choose_threshold(
    features: Tensor, pairs: PairedImages, rate: float, metric: str
) -> tuple[float, float, int, int]:
    """Return the threshold, the share of right pairs that it accepts, and the numbers of pairs.

    Pairs of one identity and one camera do not count, as in a search that is evaluated.

    Args:
        features: Features of the images of `pairs`, shape (n, D).
        pairs: The images.
        rate: Share of pairs of two identities that may pass.
        metric: Distance between two images.

    Returns:
        The threshold, the true-accept rate, pairs of two identities, and pairs of one.
    """
    same, different = [], []
    positions = torch.arange(len(features))
    for rows, distances in distances_among(features, metric):
        is_same = pairs.identities[rows][:, None] == pairs.identities
        other_camera = pairs.cameras[rows][:, None] != pairs.cameras
        is_later = positions > rows[:, None]  # each pair once
        same.append(distances[is_same & other_camera & is_later])
        different.append(distances[~is_same & is_later])
    wrong, right = torch.cat(different), torch.cat(same)
    threshold = threshold_at(wrong, rate) - ROUNDING
    accepted = float((right <= threshold).double().mean())
    return threshold, accepted, len(wrong), len(right)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """How a threshold is to be chosen.

    Attributes:
        rate: Share of pairs of two identities that may pass.
        metric: Distance between two images.
        data: Images of other identities; None for those of the gallery.
    """

    rate: float
    metric: str
    data: FoundImages | None

    @classmethod
    def of(cls, spec: IndexSpec, labels: Sequence[ImageLabels]) -> "ThresholdChoice | None":
        """Return the choice that is asked for, once it is sure that there are pairs for it.

        Args:
            spec: Settings of the index.
            labels: Labels of the gallery's images.

        Raises:
            DataError: There are none, or an image of other data cannot be read.
        """
        if spec.threshold is None:
            return None
        data = None if spec.threshold_data is None else collect_images([spec.threshold_data])
        pairs = paired_images(labels if data is None else data.labels, spec.allowed_rate)
        if data is not None:
            check_images([data.samples[row] for row in pairs.rows])  # before hours of work
        return cls(rate=spec.allowed_rate, metric=spec.metric, data=data)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the choice, for the user."""
        if self.data is not None:
            return self.data.notes
        return (
            "The threshold was chosen on images of the gallery itself: on others its rates may be "
            "different. --threshold-data takes images that were set aside.",
        )

    def choose(
        self,
        gallery: Tensor,
        labels: Sequence[ImageLabels],
        extractor: FeatureExtractor | None,
        track: Track,
    ) -> ThresholdRecord:
        """Return the threshold.

        Args:
            gallery: Features of the gallery's images, shape (N, D).
            labels: Their labels.
            extractor: Extractor of the features of `data`, where there are others.
            track: Display of the progress.

        Raises:
            DataError: There are too few pairs, or an image of `data` cannot be read.
        """
        own = labels if self.data is None else self.data.labels
        pairs = paired_images(own, self.rate)
        rows = list(pairs.rows)
        if self.data is None:
            features = gallery[rows]
        else:
            assert extractor is not None, "there are images to extract features of"
            samples = numbered([self.data.samples[row] for row in rows])
            features = torch.cat(list(extractor(samples, track)))
        distance, accepted, different, same = choose_threshold(
            features, pairs, self.rate, self.metric
        )
        return ThresholdRecord(
            distance=distance,
            false_accept_rate=self.rate,
            true_accept_rate=accepted,
            different_pairs=different,
            same_pairs=same,
            images=len(rows),
            identities=pairs.num_identities,
            data=printable("the gallery" if self.data is None else str(self.data.folder)),
            of_gallery=self.data is None,
        )


def _known_identities(labels: Sequence[ImageLabels]) -> dict[str, list[int]]:
    """Return the rows of each identity that is known; junk and distractors are left out."""
    has_cameras = any(label.camera for label in labels)
    found = defaultdict(list)
    for row, label in enumerate(labels):
        if is_known_identity(label.identity, has_cameras=has_cameras):
            found[label.identity].append(row)
    return found


def is_known_identity(identity: str, *, has_cameras: bool) -> bool:
    """Return whether an identity says whom an image shows: junk and distractors do not.

    Args:
        identity: Name of the identity; "" where it is unknown.
        has_cameras: Whether cameras are known: then 0 are distractors, as in Market-1501, and no
            class of that name. Two of them may be one person, or two.
    """
    is_distractor = has_cameras and not identity.lstrip("0")
    return bool(identity) and identity != JUNK_IDENTITY and not is_distractor


def _drawn(of_identity: dict[str, list[int]]) -> list[str]:
    """Return identities in a fixed order at random, as many as there is room for, two at least."""
    names = sorted(of_identity)
    random.Random("threshold").shuffle(names)
    # The first that have several images: identities of one image have no right pair.
    names.sort(key=lambda name: len(of_identity[name]) < 2)
    chosen, count = [], 0
    for name in names:
        if len(chosen) >= 2 and count + len(of_identity[name]) > MOST_IMAGES:
            break
        chosen.append(name)
        count += len(of_identity[name])
    return chosen


def _numbers(names: Sequence[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names])


def _camera_numbers(names: Sequence[str]) -> Tensor:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    unknown = (-1 - row for row in range(len(names)))
    return torch.tensor(
        [numbers[name] if name else own for name, own in zip(names, unknown, strict=True)]
    )


def _require_pairs(chosen: PairedImages, rate: float) -> None:
    count = len(chosen.rows)
    sizes = chosen.identities.bincount()
    different = count * (count - 1) // 2 - int((sizes * (sizes - 1) // 2).sum())
    if different < 1 / rate:
        raise DataError(
            f"A threshold cannot be chosen for a rate of false accepts of {rate:g}: there are "
            f"{different:,} pairs of two identities.",
            reason=f"Of fewer than {ceil(1 / rate):,}, not even one pair may pass.",
            hint="Give more images (--threshold-data DIR), or allow more: --false-accept-rate.",
        )
    if not _has_right_pair(chosen):
        raise DataError(
            "A threshold cannot be chosen: no identity has two images that count.",
            reason="Images of one identity by one camera do not count, where cameras are known.",
            hint="Give images of which several show one identity: --threshold-data DIR.",
        )


def _has_right_pair(chosen: PairedImages) -> bool:
    cameras = defaultdict(set)
    for identity, camera in zip(chosen.identities.tolist(), chosen.cameras.tolist(), strict=True):
        cameras[identity].add(camera)
    return any(len(found) > 1 for found in cameras.values())
