"""Training images searched for among each other: the figures of an evaluation, query by query."""

from pathlib import Path

import brute_force_retrieval as brute_force
import pytest
import torch
from labeled_features import images

from covtool.comparing.retrieval_estimates import TrainingSearch, training_labels
from covtool.data.datasets.retrieval.training import training_layout
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.features.feature_set import IdentityLabels
from covtool.evaluation.retrieval.ranking import evaluate_retrieval
from covtool.ops.resampling import mean_intervals
from covtool.specs import RetrievalSpec, SearchSpec


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("kind", ["clusters", "ties"])
def test_figures_are_those_of_the_definitions(kind: str, cameras: bool, metric: str) -> None:
    train = images(3, 40, kind=kind, cameras=cameras)
    search = TrainingSearch(train.labels)
    found = search.estimate(train.features, SearchSpec(metric=metric))
    table = brute_force.distance_table(train, None, metric)
    expected = brute_force.evaluate(train, None, table)
    assert len(search.queries) == len(found.hits) == expected["queries"]
    assert found.mean_average_precision == pytest.approx(expected["mAP"], abs=1e-9)
    assert found.rank_1 == pytest.approx(expected["rank-1"], abs=1e-9)
    orders = brute_force.rankings(train, None, table)
    for query, precision, hit in zip(
        search.queries.tolist(), found.average_precisions.tolist(), found.hits.tolist(), strict=True
    ):
        hits = [bool(train.identities[image] == train.identities[query]) for image in orders[query]]
        assert precision == pytest.approx(brute_force.of_one(hits)["mAP"])
        assert hit is hits[0]


@pytest.mark.parametrize("cameras", [True, False])
def test_figures_are_those_of_evaluate_on_the_training_split(cameras: bool) -> None:
    train = images(4, 300, kind="clusters", cameras=cameras, identities=12)
    result = evaluate_retrieval(train, spec=RetrievalSpec())
    search = TrainingSearch(train.labels)
    found = search.estimate(train.features)
    assert search.has_cameras is cameras
    assert found.mean_average_precision == pytest.approx(result.mean_average_precision)
    assert found.rank_1 == pytest.approx(result.rank_1)
    precisions = [result.average_precisions[query] for query in search.queries.tolist()]
    assert (100 * found.average_precisions).tolist() == pytest.approx(precisions)
    assert (search.candidates, search.num_images) == (result.queries, 300)


def test_queries_carry_the_identity_by_which_they_are_resampled() -> None:
    train = images(5, 200, kind="clusters", cameras=True, identities=9)
    search = TrainingSearch(train.labels)
    assert torch.equal(search.groups, train.identities[search.queries])
    assert (search.groups >= 0).all()  # junk is searched neither for nor in
    found = search.estimate(train.features)
    by_identity = mean_intervals(found.average_precisions, groups=search.groups)
    assert by_identity.units == len(search.groups.unique()) >= 8
    assert 100 * by_identity.estimate.item() == pytest.approx(found.mean_average_precision)


def test_a_sample_of_queries_searches_the_whole_gallery() -> None:
    train = images(6, 300, kind="clusters", cameras=False, identities=10)
    whole, sampled = TrainingSearch(train.labels), TrainingSearch(train.labels, most_queries=50)
    assert len(sampled.queries) == 50 < sampled.candidates == len(whole.queries)
    assert set(sampled.queries.tolist()) < set(whole.queries.tolist())
    assert sampled.queries.tolist() == sorted(sampled.queries.tolist())
    again = TrainingSearch(train.labels, most_queries=50)
    assert torch.equal(sampled.queries, again.queries)
    other = TrainingSearch(train.labels, most_queries=50, seed=1)
    assert not torch.equal(sampled.queries, other.queries)
    every = dict(
        zip(
            whole.queries.tolist(),
            whole.estimate(train.features).average_precisions.tolist(),
            strict=True,
        )
    )
    found = sampled.estimate(train.features).average_precisions.tolist()
    assert found == [every[query] for query in sampled.queries.tolist()]


def test_notes_say_that_queries_are_a_sample_and_that_identities_are_few() -> None:
    labels = IdentityLabels(torch.arange(10).repeat_interleave(6))
    assert list(TrainingSearch(labels).notes()) == []
    (note,) = TrainingSearch(labels, most_queries=50).notes()
    assert note.startswith("50 of 60 images that have a match are searched for")
    assert "all 60 images are searched in" in note
    # Five identities, of which the fifth has a single image, which is not searched for.
    few = IdentityLabels(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4]))
    (note,) = TrainingSearch(few).notes()
    assert "images of 4 identities, and an interval needs 5" in note


def test_features_are_not_modified_and_may_be_float64() -> None:
    train = images(7, 60, kind="clusters", cameras=False)
    search, features = TrainingSearch(train.labels), train.features.double()
    before = features.clone()
    found = search.estimate(features)
    assert torch.equal(features, before)
    assert torch.equal(found.average_precisions, search.estimate(train.features).average_precisions)


def test_less_memory_gives_the_same_figures() -> None:
    train = images(8, 400, kind="clusters", cameras=True, identities=20)
    search = TrainingSearch(train.labels)
    found = search.estimate(train.features)
    small = search.estimate(train.features, SearchSpec(max_memory="66MB"))
    torch.testing.assert_close(found.average_precisions, small.average_precisions)
    with pytest.raises(ArgumentError, match="--max-memory"):
        search.estimate(train.features, SearchSpec(max_memory="1MB"))


def test_labels_are_those_of_the_classes_to_train_on_without_junk() -> None:
    layout = RetrievalLayout(
        root=Path("cars.csv"),
        kind="csv",
        train=tuple(
            RetrievalSample(Path(f"{number}.png"), identity, camera)
            for number, (identity, camera) in enumerate(
                [("bob", "1"), ("-1", "2"), ("ann", "1"), ("bob", "3"), ("ann", "2")]
            )
        ),
        query=(RetrievalSample(Path("t.png"), "cleo", "1"),),
    )
    labels = training_labels(layout)
    classes = [sample.label for sample in training_layout(layout).splits["train"]]
    assert len(labels.identities) == len(classes) == 4
    same = labels.identities[:, None] == labels.identities
    assert same.tolist() == [[one == other for one in classes] for other in classes]
    assert labels.cameras is not None
    assert len(labels.cameras.unique()) == 3
    assert training_labels(layout, cameras=False).cameras is None
    with pytest.raises(DataError, match="has no training images, only: query"):
        training_labels(RetrievalLayout(root=Path("x"), kind="csv", query=layout.query))


@pytest.mark.parametrize(
    ("identities", "cameras", "message"),
    [
        ([1, 2, 3, 4], None, "No query has a match.*4 have no other image"),
        ([1, 1, 2, 2], [5, 5, 6, 6], "No query has a match.*4 only images of their own camera"),
        ([3, 3, 3, -1], None, "one identity"),
    ],
)
def test_labels_that_say_nothing_are_refused(identities, cameras, message) -> None:
    columns = (identities,) if cameras is None else (identities, cameras)
    with pytest.raises(DataError, match=f"(?s){message}"):
        TrainingSearch(IdentityLabels(*map(torch.tensor, columns)))


def test_features_of_other_images_and_not_finite_ones_are_refused() -> None:
    search = TrainingSearch(IdentityLabels(torch.tensor([1, 1, 2, 2])))
    with pytest.raises(DataError, match="3 images, but labels of 4"):
        search.estimate(torch.ones(3, 2))
    features = torch.ones(4, 2)
    features[2, 1] = torch.nan
    with pytest.raises(DataError, match="finite"):
        search.estimate(features)
