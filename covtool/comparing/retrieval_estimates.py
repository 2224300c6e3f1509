"""mAP and rank-1 of features on the training images: an estimate of a search in the test images.

Each training image is searched for among all others of the training set, as a test split without
query and gallery is searched: no class has to be cut into few queries and a small gallery, so that
nothing depends on a cut. Images of the query's own camera are ignored where cameras are known, as
by `covtool.evaluation.retrieval`, whose search this is: ``covtool evaluate --split train`` gives
the same figures, up to `MOST_QUERIES` images that have a match. Of more, a random sample is
searched for, in all images, which a note says.

The estimate is fair as long as nothing has been fitted to these labels: the backbone is frozen,
and principal directions of its features use no labels. Features of a network that was trained on
these identities would look better than they are. It orders features; its level is another than the
test split's, since mAP and rank-1 depend on the numbers of identities and of images of each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.data.datasets.found_images import counted
from covtool.data.datasets.retrieval.training import training_images
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.errors import DataError
from covtool.evaluation.features.feature_set import IdentityLabels, refuse_non_finite
from covtool.evaluation.features.table import identity_labels
from covtool.evaluation.retrieval.exact_search import ExactSearch, SearchFeatures
from covtool.evaluation.retrieval.metrics import RankingFigures, ranking_figures
from covtool.evaluation.retrieval.ranking import compared_blocks
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.search import image_label
from covtool.ops.ranking import ranks_of
from covtool.ops.resampling import FEWEST_UNITS
from covtool.progress import Track, silent
from covtool.specs import SearchSpec

MOST_QUERIES = 4096
"""Queries of an estimate: more make intervals little narrower, and a search takes hours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RetrievalEstimate:
    """Figures of each query of a `TrainingSearch`.

    Attributes:
        average_precisions: Average precision, in [0, 1], shape (q,), float64.
        hits: Whether the first image of the ranking is a match, shape (q,).
    """

    average_precisions: Tensor
    hits: Tensor

    @property
    def mean_average_precision(self) -> float:
        """The mAP in percent."""
        return 100 * self.average_precisions.mean().item()

    @property
    def rank_1(self) -> float:
        """Share of queries whose first image is a match, percent: rank-1, or Recall@1."""
        return 100 * self.hits.double().mean().item()


class TrainingSearch:
    """Searches training images for each other; all features get the same queries.

    Intervals are to be resampled by identity (`groups`), not by query: images of one identity are
    easy or hard together, and it is other identities that a search is to work for. The difference
    of two rows is one of the same queries.

    Args:
        labels: Identities of the training images, and cameras where they matter; see
            `training_labels`.
        most_queries: Images that are searched for, at most: a random sample, where more have a
            match. The gallery is always whole.
        seed: Seed of the sample.

    Attributes:
        queries: Images that are searched for, positions in `labels`, ascending, shape (q,).
        groups: Identity of each query, shape (q,).
        num_images: Images of the training set.
        identities: Identities among them.
        candidates: Images that have a match, of which the queries are a sample.
        has_cameras: Whether images of the query's identity and camera are ignored.

    Raises:
        DataError: No image has a match, or all show one identity.
    """

    def __init__(
        self, labels: IdentityLabels, *, most_queries: int = MOST_QUERIES, seed: int = 0
    ) -> None:
        self._relevance = Relevance(labels, None)
        self.num_images = len(labels.identities)
        self.identities = len(labels.identities[self._relevance.gallery_rows].unique())
        if self.identities < 2:
            raise DataError(
                "The training images show one identity: every search would be right.",
                hint="Compare on data with more identities.",
            )
        scored = self._relevance.scored_queries
        self.candidates = len(scored)
        self.queries = _sample(scored, most_queries, seed)
        self.groups = labels.identities[self.queries]
        self.has_cameras = self._relevance.has_cameras

    def notes(self) -> Iterator[str]:
        """Yield sentences on queries that are a sample, or too few to tell features apart."""
        queries, identities = len(self.queries), len(self.groups.unique())
        if queries < self.candidates:
            yield (
                f"{queries:,} of {self.candidates:,} images that have a match are searched for, "
                f"drawn at random; all {self.num_images:,} images are searched in."
            )
        if identities < FEWEST_UNITS:
            yield (
                f"Searched for are images of {counted(identities, 'identity')}, and an interval "
                f"needs {FEWEST_UNITS}: too few to tell rows apart. Which row is best may be "
                "chance."
            )

    def estimate(
        self, features: Tensor, spec: SearchSpec | None = None, *, track: Track = silent
    ) -> RetrievalEstimate:
        """Return the figures of features, query by query.

        Args:
            features: Features of the training images in the order of the labels, shape (n, d).
            spec: Metric and memory; None for the defaults, those of `covtool evaluate`.
            track: Display of the progress, by blocks of queries.

        Raises:
            DataError: There are features of another number of images, or one is not finite.
            ArgumentError: The memory allowed is too little.
        """
        if len(features) != self.num_images:
            raise DataError(
                f"There are features of {len(features)} images, but labels of {self.num_images}."
            )
        refuse_non_finite(features)
        # In float32, as files of features and every other search have them.
        features = features.float()
        data = SearchFeatures(query=features, gallery=features, relevance=self._relevance)
        search = ExactSearch(data, spec or SearchSpec())
        blocks = compared_blocks(search, self._relevance, self.queries, track)
        figures = RankingFigures.joined(
            [
                ranking_figures(ranks_of(distances, same.match_positions), same.is_match)
                for _, distances, same in blocks
            ]
        )
        return RetrievalEstimate(
            average_precisions=figures.average_precision, hits=figures.first_rank == 1
        )


def training_labels(layout: RetrievalLayout, *, cameras: bool = True) -> IdentityLabels:
    """Return identities and cameras of the training images without junk, in their order.

    The order is that of `covtool.data.datasets.retrieval.training.training_layout`.

    Args:
        layout: The data set.
        cameras: Whether images of the query's own camera are ignored, where cameras are known.

    Raises:
        DataError: There is no training image, or only some have cameras.
    """
    labels = [image_label(sample, "train", layout.folder) for sample in training_images(layout)]
    if not cameras:
        labels = [label._replace(camera="") for label in labels]
    return identity_labels(labels)[0]


def _sample(scored: Tensor, most: int, seed: int) -> Tensor:
    if len(scored) <= most:
        return scored
    generator = torch.Generator("cpu").manual_seed(seed)
    chosen = torch.randperm(len(scored), generator=generator, device="cpu")[:most]
    return scored[chosen.sort().values]
