"""Figures of a search by two cameras, against searches in one camera's images alone."""

import pytest
import torch

from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.retrieval.exact_search import SearchFeatures
from covtool.evaluation.retrieval.ranking import rank_gallery
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.specs import RetrievalSpec

CAMERAS, IDENTITIES = 3, 4


def images(number: int, seed: int) -> FeatureSet:
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randint(1, IDENTITIES + 1, (number,), generator=generator)
    return FeatureSet(
        # Few values: distances that are equal are ranked as in a search.
        features=torch.randint(0, 3, (number, 2), generator=generator).float(),
        identities=identities,
        cameras=torch.randint(10, 10 + CAMERAS, (number,), generator=generator),
    )


def searched(query: FeatureSet, gallery: FeatureSet | None, spec: RetrievalSpec):
    found_in = query if gallery is None else gallery
    relevance = Relevance(query.labels, None if gallery is None else gallery.labels)
    features = SearchFeatures(query=query.features, gallery=found_in.features, relevance=relevance)
    return rank_gallery(features, spec, by_camera=True).by_camera


@pytest.mark.parametrize("shared", [False, True], ids=["gallery", "among the others"])
def test_a_camera_alone_gives_the_figures_of_a_search_in_its_images(shared):
    query = images(40, seed=1)
    gallery = None if shared else images(50, seed=2)
    spec = RetrievalSpec(metric="euclidean")
    found = searched(query, gallery, spec)
    everything = query if shared else gallery
    assert everything.cameras[found.images].tolist() == list(range(10, 10 + CAMERAS))
    for column, camera in enumerate(range(10, 10 + CAMERAS)):
        of_camera = everything.cameras == camera
        alone = FeatureSet(
            features=everything.features[of_camera],
            identities=everything.identities[of_camera],
            cameras=everything.cameras[of_camera],
        )
        expected = evaluate_retrieval(query, alone, spec)
        precisions, ranks = found.average_precision[:, column], found.first_rank[:, column]
        for row, (precision, rank) in enumerate(
            zip(expected.average_precisions, expected.first_ranks, strict=True)
        ):
            if precision is None:
                assert precisions[row].isnan()
                assert ranks[row].isnan()
            else:
                assert precisions[row].item() == pytest.approx(precision)
                assert ranks[row].item() == rank
        own = query.cameras == camera
        assert precisions[own].isnan().all()  # ignored, and thus no match
        assert not precisions[~own].isnan().all()


def test_without_cameras_there_are_no_such_figures():
    query = images(40, seed=1)
    plain = FeatureSet(features=query.features, identities=query.identities)
    assert searched(plain, None, RetrievalSpec()) is None
