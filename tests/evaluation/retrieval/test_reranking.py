"""Sparse re-ranking in blocks equals the dense one of the equations."""

import brute_force_retrieval as brute_force
import dense_reranking
import pytest
import torch
from labeled_features import figures_of, images
from torch.testing import assert_close

from covtool.errors import ArgumentError
from covtool.evaluation import evaluate_retrieval
from covtool.evaluation.features.feature_set import JUNK_LABEL, FeatureSet
from covtool.evaluation.retrieval.exact_search import SearchFeatures
from covtool.evaluation.retrieval.memory_plan import SearchSize
from covtool.evaluation.retrieval.relevance import Relevance
from covtool.evaluation.retrieval.reranking import RerankedSearch, plan_reranked
from covtool.specs import RetrievalSpec

NUMBERS = [(20, 6, 0.3), (5, 2, 0.0), (3, 3, 0.5), (1, 1, 0.3), (6, 1, 0.9), (200, 150, 0.1)]


def joined(query, gallery):
    """All images but junk, those of the gallery last, and how many are not of the gallery."""
    sets = [query] if gallery is None else [query, gallery]
    kept = [found.identities != JUNK_LABEL for found in sets]
    features = [found.features[rows] for found, rows in zip(sets, kept, strict=True)]
    everything = FeatureSet(
        features=torch.cat(features), identities=torch.zeros(sum(map(len, features)))
    )
    return everything, 0 if gallery is None else len(features[0])


def search_features(query, gallery):
    """The features of two sets, with what is relevant; the gallery is None for the queries."""
    found_in = query if gallery is None else gallery
    relevance = Relevance(query.labels, None if gallery is None else gallery.labels)
    return SearchFeatures(query=query.features, gallery=found_in.features, relevance=relevance)


def distances_of(query, gallery, spec):
    """Those of every query that is not junk to every image of the gallery."""
    search = RerankedSearch(search_features(query, gallery), spec)
    queries = (query.identities != JUNK_LABEL).nonzero()[:, 0]
    return torch.cat([search.compare(part).clone() for part in queries.split(search.plan.rows)])


@pytest.mark.parametrize("same", [False, True], ids=["gallery", "itself"])
@pytest.mark.parametrize("kind", ["distinct", "clusters", "ties", "equal"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_equal_those_of_the_equations(metric, kind, same):
    for seed, (k1, k2, weight) in enumerate(NUMBERS):
        query = images(seed, 40 if same else 15, kind=kind, cameras=False)
        gallery = None if same else images(50 + seed, 40, kind=kind, cameras=False)
        everything, first = joined(query, gallery)
        table = brute_force.distance_table(everything, None, metric)
        expected = dense_reranking.rerank(table, k1=k1, k2=k2, weight=weight)
        expected = torch.tensor(expected[: first or None, first:], dtype=torch.float32)
        spec = RetrievalSpec(metric=metric, rerank=True, k1=k1, k2=k2, lambda_=weight)
        assert_close(distances_of(query, gallery, spec), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cameras", [True, False], ids=["cameras", "no cameras"])
def test_figures_are_those_of_the_new_distances(cameras):
    for seed in range(6):
        query = images(seed, 15, kind="clusters", cameras=cameras)
        gallery = images(50 + seed, 40, kind="clusters", cameras=cameras)
        kept, asked = (found.identities != JUNK_LABEL for found in (gallery, query))
        everything, first = joined(query, gallery)
        final = dense_reranking.rerank(
            brute_force.distance_table(everything, None, "cosine"), k1=8, k2=3, weight=0.3
        )
        table = torch.zeros(len(query), len(gallery), dtype=torch.float64)
        table[asked.nonzero(), kept.nonzero()[:, 0]] = torch.tensor(final[:first, first:])
        spec = RetrievalSpec(rerank=True, k1=8, k2=3)
        result = evaluate_retrieval(query, gallery, spec)
        expected = brute_force.evaluate(query, gallery, table.tolist())
        assert figures_of(result) == pytest.approx(expected, abs=1e-9)


def test_blocks_do_not_change_distances_and_are_as_large_as_memory_allows():
    query, gallery = (images(seed, 120, kind="clusters", cameras=True) for seed in (0, 1))
    spec = RetrievalSpec(rerank=True, k1=4, k2=2, lambda_=0.3)
    little = spec.model_copy(update={"max_memory": "82.3MB"})
    features = search_features(query, gallery)
    few, many = RerankedSearch(features, spec), RerankedSearch(features, little)
    assert few.plan.rows > 100 > 20 > many.plan.rows
    assert many.plan.num_bytes <= little.memory_bytes < few.plan.num_bytes
    assert_close(
        distances_of(query, gallery, little), distances_of(query, gallery, spec), rtol=0, atol=1e-6
    )


def test_too_little_memory_is_refused_with_what_is_needed():
    query = images(0, 40, kind="ties", cameras=True)
    spec = RetrievalSpec(rerank=True, max_memory="2kB")
    with pytest.raises(ArgumentError, match=r"The re-ranking needs [\d.]+ MB, but --max-memory"):
        evaluate_retrieval(query, spec=spec)


def test_inputs_are_not_modified():
    query = images(0, 30, kind="ties", cameras=True)
    before = query.features.clone()
    evaluate_retrieval(query, spec=RetrievalSpec(rerank=True, metric="euclidean"))
    assert torch.equal(query.features, before)


def test_msmt17_fits_into_six_gigabytes():
    size = SearchSize(
        queries=11_659,
        gallery=82_161,
        images=11_659 + 82_161,
        images_per_identity=100,
        num_features=2048,
    )
    plan = plan_reranked(size, RetrievalSpec(rerank=True, max_memory="6GB"))
    assert plan.rows > 100
