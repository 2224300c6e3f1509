"""The evaluation of a search equals one that is written from the definitions."""

from dataclasses import replace

import brute_force_retrieval as brute_force
import pytest
import torch
from labeled_features import figures_of, images

from covtool.errors import ArgumentError, DataError
from covtool.evaluation import evaluate_retrieval
from covtool.evaluation.features.feature_set import JUNK_LABEL, FeatureSet
from covtool.specs import RetrievalSpec

SEEDS = range(12)
METRICS = ("cosine", "euclidean")


@pytest.mark.parametrize("cameras", [True, False], ids=["cameras", "no cameras"])
@pytest.mark.parametrize("kind", ["distinct", "ties", "equal"])
@pytest.mark.parametrize("metric", METRICS)
def test_queries_in_a_gallery_equal_brute_force(metric, kind, cameras):
    for seed in SEEDS:
        query = images(seed, 13, kind=kind, cameras=cameras)
        gallery = images(100 + seed, 40, kind=kind, cameras=cameras)
        table = brute_force.distance_table(query, gallery, metric)
        result = evaluate_retrieval(query, gallery, RetrievalSpec(metric=metric))
        expected = brute_force.evaluate(query, gallery, table)
        assert figures_of(result) == pytest.approx(expected, abs=1e-9)
        assert result.left_out == 13 - result.queries
        assert result.gallery == int((gallery.identities != JUNK_LABEL).sum())


@pytest.mark.parametrize("cameras", [True, False], ids=["cameras", "no cameras"])
@pytest.mark.parametrize("kind", ["distinct", "ties", "equal"])
@pytest.mark.parametrize("metric", METRICS)
def test_each_image_against_the_others_equals_brute_force(metric, kind, cameras):
    for seed in SEEDS:
        found = images(seed, 30, kind=kind, cameras=cameras)
        table = brute_force.distance_table(found, None, metric)
        result = evaluate_retrieval(found, spec=RetrievalSpec(metric=metric))
        expected = brute_force.evaluate(found, None, table)
        assert figures_of(result) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("same", [True, False], ids=["itself", "gallery"])
def test_matches_are_the_first_images_of_the_ranking(same):
    query = images(0, 13, kind="ties", cameras=True)
    gallery = None if same else images(1, 30, kind="ties", cameras=True)
    table = brute_force.distance_table(query, gallery, "cosine")
    orders = brute_force.rankings(query, gallery, table)
    result = evaluate_retrieval(query, gallery, keep=1000)
    assert result.matches.shape == (13, result.gallery)
    precisions = result.average_precisions
    assert None in precisions
    for row, order, precision in zip(result.matches.tolist(), orders, precisions, strict=True):
        shown = [] if precision is None else order
        assert row == shown + [-1] * (result.gallery - len(shown))
    counted = [precision for precision in precisions if precision is not None]
    assert sum(counted) / len(counted) == pytest.approx(result.mean_average_precision)


def test_names_follow_from_the_cameras():
    with_cameras = images(0, 20, kind="distinct", cameras=True)
    names = [name for name, _ in evaluate_retrieval(with_cameras).figures()]
    assert names == ["rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"]
    without = replace(with_cameras, cameras=None)
    names = [name for name, _ in evaluate_retrieval(without).figures()]
    assert names[:4] == ["Recall@1", "Recall@5", "Recall@10", "Recall@20"]
    assert names[4:] == ["R-precision", "mAP@R", "mAP"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_magnitude_of_features_does_not_matter(metric, scale):
    found = images(3, 30, kind="distinct", cameras=False)
    scaled = replace(found, features=found.features * scale)
    spec = RetrievalSpec(metric=metric)
    assert figures_of(evaluate_retrieval(found, spec=spec)) == figures_of(
        evaluate_retrieval(scaled, spec=spec)
    )


def test_features_far_from_the_origin_are_told_apart():
    found = images(3, 30, kind="distinct", cameras=False)
    moved = replace(found, features=(found.features * 64).round() / 64 + 10_000)
    nearby = replace(found, features=moved.features - 10_000)
    spec = RetrievalSpec(metric="euclidean")
    table = brute_force.distance_table(nearby, None, "euclidean")
    result = evaluate_retrieval(moved, spec=spec)
    assert figures_of(result) == pytest.approx(brute_force.evaluate(nearby, None, table))


def test_blocks_do_not_change_figures_and_are_as_large_as_memory_allows():
    query = images(0, 40, kind="ties", cameras=True)
    gallery = images(1, 200, kind="ties", cameras=True)
    counts = {}

    def track(blocks, description, total):
        counts[description] = total
        return iter(blocks)

    plenty = evaluate_retrieval(query, gallery, track=track)
    assert counts == {"searching": 1}
    little = RetrievalSpec(max_memory="64.44MB")
    assert figures_of(evaluate_retrieval(query, gallery, little, track=track)) == figures_of(plenty)
    assert counts["searching"] > 10


def test_too_little_memory_is_refused_with_what_is_needed():
    query = images(0, 40, kind="ties", cameras=True)
    with pytest.raises(ArgumentError, match=r"needs 64 MB, but --max-memory allows 2.0 kB"):
        evaluate_retrieval(query, spec=RetrievalSpec(max_memory="2kB"))


def test_inputs_are_not_modified():
    query = images(0, 20, kind="ties", cameras=True)
    before = query.features.clone()
    for metric in METRICS:
        evaluate_retrieval(query, spec=RetrievalSpec(metric=metric), keep=3)
    assert torch.equal(query.features, before)


def test_no_match_at_all_is_an_error_that_says_why():
    query = FeatureSet(
        features=torch.rand(3, 4),
        identities=torch.tensor([1, 2, 7]),
        cameras=torch.tensor([0, 1, 0]),
    )
    gallery = FeatureSet(
        features=torch.rand(3, 4),
        identities=torch.tensor([1, 2, JUNK_LABEL]),
        cameras=torch.tensor([0, 1, 2]),
    )
    reason = "Of 3 queries, 1 have no other image of their identity there, 2 only images of their"
    with pytest.raises(DataError, match=reason):
        evaluate_retrieval(query, gallery)
    with pytest.raises(DataError, match="3 have no other image"):
        evaluate_retrieval(replace(query, cameras=None))


def test_sets_that_do_not_belong_together_are_refused():
    query = images(0, 10, kind="ties", cameras=True)
    with pytest.raises(DataError, match="has 8 features, an image of the gallery 7"):
        evaluate_retrieval(query, replace(query, features=query.features[:, :7]))
    with pytest.raises(DataError, match="Only one of query and gallery has cameras"):
        evaluate_retrieval(query, replace(query, cameras=None))
