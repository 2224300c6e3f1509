"""Verification against brute force in float64 over all pairs, and its laws."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu

from covtool.errors import ArgumentError, DataError
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.evaluation.retrieval import pair_counts
from covtool.evaluation.retrieval.pair_counts import PairCounts
from covtool.evaluation.retrieval.verification import (
    RATES,
    threshold_at,
    verification_figures,
)
from covtool.specs import RetrievalSpec

DISTANCES = {
    # The same arithmetic in float64, from features and not from anything of the search.
    "cosine": lambda x, y: (
        1 - (x / np.linalg.norm(x, axis=1)[:, None]) @ (y / np.linalg.norm(y, axis=1)[:, None]).T
    ),
    "euclidean": lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(2)),
}


def images(count, *, seed, kind="clusters", cameras=True):
    """Features with the structure of identities; small integers where distances are to tie."""
    draw = np.random.default_rng(seed)
    identities = draw.integers(0, 7, count)
    features = draw.normal(size=(count, 12)) + 1.2 * np.eye(12)[identities]
    if kind == "ties":
        features = np.round(features).clip(-2, 2) + np.eye(12)[0] * 3
    labels = {"identities": torch.tensor(identities)}
    labels["identities"][draw.integers(0, count, 3)] = -1  # junk
    if cameras:
        labels["cameras"] = torch.tensor(draw.integers(0, 3, count))
    return FeatureSet(features=torch.tensor(features, dtype=torch.float32), **labels)


def pairs_of(query, gallery, metric):
    """Distances of the pairs that count, of one identity and of two, pair by pair."""
    shared = gallery is None
    gallery = query if shared else gallery
    x, y = (of.features.double().numpy() for of in (query, gallery))
    distances = DISTANCES[metric](x, y)
    same, different = [], []
    for q in range(len(query.identities)):
        found = {True: [], False: []}
        for g in range(len(gallery.identities)):
            if gallery.identities[g] == -1 or (shared and q == g):
                continue
            is_same = bool(query.identities[q] == gallery.identities[g])
            if is_same and query.cameras is not None and query.cameras[q] == gallery.cameras[g]:
                continue
            found[is_same].append(distances[q, g])
        if query.identities[q] != -1 and found[True]:  # else it is no query that counts
            same += found[True]
            different += found[False]
    return np.array(same), np.array(different)


def area(same, different):
    """Area under ROC as Mann and Whitney's statistic."""
    return 100 * mannwhitneyu(different, same).statistic / len(same) / len(different)


def equal_error_rate(same, different):
    """Find the zero of FAR - FRR on the polygon through all points of ROC."""
    thresholds = np.unique(np.concatenate([same, different]))
    far = [0, *((different <= t).mean() for t in thresholds)]
    tpr = [0, *((same <= t).mean() for t in thresholds)]
    along = np.arange(len(far))
    gap = interp1d(along, np.array(far) - (1 - np.array(tpr)))
    return 100 * float(np.interp(brentq(gap, 0, along[-1]), along, far))


CASES = [
    (metric, kind, cameras, shared)
    for metric in DISTANCES
    for kind in ("clusters", "ties")
    for cameras in (True, False)
    for shared in (True, False)
]


def measured(metric, kind, cameras, shared, **settings):
    query = images(50, seed=1, kind=kind, cameras=cameras)
    gallery = None if shared else images(90, seed=2, kind=kind, cameras=cameras)
    spec = RetrievalSpec(metric=metric, **settings)
    return evaluate_retrieval(query, gallery, spec).verification, *pairs_of(query, gallery, metric)


def rounded(values):
    """Distances as float32 has them: equal ones of integers may differ by rounding in float64."""
    return np.round(values, 5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_figures_are_those_of_brute_force(case):
    found, same, different = measured(*case)
    same, different = rounded(same), rounded(different)
    assert (found.same_pairs, found.different_pairs) == (len(same), len(different))
    assert found.is_exact
    assert found.auc_error == 0
    # Pairs that tie in float64 may come in either order in float32.
    tolerance = 0.02 if case[1] == "ties" else 1e-3
    assert found.auc == pytest.approx(area(same, different), abs=tolerance)
    assert found.equal_error_rate == pytest.approx(equal_error_rate(same, different), abs=0.2)
    for point in found.at_rates:
        assert point.false_accept_rate <= 100 * point.asked_rate
        threshold = threshold_at(torch.tensor(different), point.asked_rate)
        accepted = 100 * (same <= threshold).mean()
        assert point.true_accept_rate == pytest.approx(accepted, abs=200 / len(same))
        assert point.threshold is None or point.threshold <= threshold + 1e-5


def test_figures_are_exact_where_distances_are():
    generator = np.random.default_rng(0)
    same, different = generator.integers(0, 40, 300) / 8, generator.integers(10, 90, 5000) / 8
    distances = np.unique(np.concatenate([same, different]))
    counts = PairCounts(
        distances=distances,
        same=np.array([(same == d).sum() for d in distances]),
        different=np.array([(different == d).sum() for d in distances]),
        is_exact=True,
    )
    found = verification_figures(counts)
    assert found.auc == pytest.approx(area(same, different), rel=1e-12)
    assert found.equal_error_rate == pytest.approx(equal_error_rate(same, different), rel=1e-9)
    low, high = found.equal_error_bounds
    assert low <= found.equal_error_rate <= high
    for point in (*found.at_rates, *found.roc):
        threshold = threshold_at(torch.tensor(different), point.asked_rate)
        assert point.true_accept_rate == pytest.approx(100 * (same <= threshold).mean(), rel=1e-12)
        expected = 100 * (different <= threshold).mean()
        assert point.false_accept_rate == pytest.approx(expected, rel=1e-12)
        if point.threshold is not None:
            assert (different <= point.threshold).mean() <= point.asked_rate
            assert (same <= point.threshold).sum() == (same <= threshold).sum()


@pytest.mark.parametrize("metric", DISTANCES)
def test_in_bins_the_figures_are_within_what_is_said(metric, monkeypatch):
    exact, *_ = measured(metric, "clusters", True, False)
    monkeypatch.setattr(pair_counts, "MOST_SORTED", 0)
    binned, same, different = measured(metric, "clusters", True, False)
    assert not binned.is_exact
    assert (binned.same_pairs, binned.different_pairs) == (len(same), len(different))
    assert abs(binned.auc - exact.auc) <= binned.auc_error + 1e-9
    assert binned.auc_error < 0.1
    low, high = binned.equal_error_bounds
    assert low - 1e-9 <= exact.equal_error_rate <= high + 1e-9
    for point in (*binned.at_rates, *binned.roc):
        assert point.false_accept_rate <= 100 * point.asked_rate + 1e-9
        if point.threshold is not None:
            # The ends of bins are thresholds like others: figures there are exact.
            accepted = 100 * (same <= point.threshold).mean()
            assert point.true_accept_rate == pytest.approx(accepted, abs=200 / len(same))


@pytest.mark.parametrize("sorting", [True, False])
def test_blocks_do_not_change_the_counts(sorting, monkeypatch):
    if not sorting:
        monkeypatch.setattr(pair_counts, "MOST_SORTED", 0)
    whole, *_ = measured("cosine", "clusters", True, False)
    parts, *_ = measured("cosine", "clusters", True, False, max_memory="66.5MB")
    assert parts.is_exact == sorting
    assert parts.auc == pytest.approx(whole.auc, abs=1e-3)
    assert parts.same_pairs == whole.same_pairs
    assert parts.different_pairs == whole.different_pairs


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_thresholds_are_in_the_features_own_unit(metric, factor):
    query, gallery = images(50, seed=1), images(90, seed=2)
    scaled = [
        FeatureSet(features=of.features * factor, identities=of.identities, cameras=of.cameras)
        for of in (query, gallery)
    ]
    plain, other = (
        evaluate_retrieval(*pair, RetrievalSpec(metric=metric)).verification
        for pair in ((query, gallery), scaled)
    )
    unit = factor if metric == "euclidean" else 1
    assert other.equal_error_threshold == pytest.approx(
        unit * plain.equal_error_threshold, rel=1e-5
    )
    assert other.auc == pytest.approx(plain.auc, abs=0.01)


def test_rates_below_one_pair_are_not_reported():
    found, _, different = measured("cosine", "clusters", True, False)
    assert 1000 < len(different) < 10_000
    assert [point.asked_rate for point in found.at_rates] == list(RATES[:3])
    assert all(point.asked_rate * len(different) >= 1 for point in found.roc)


def test_a_perfect_model_and_one_that_is_always_wrong():
    labels = torch.arange(8) // 2
    right = FeatureSet(features=torch.eye(4)[labels], identities=labels)
    found = evaluate_retrieval(right).verification
    assert (found.auc, found.equal_error_rate) == (100, 0)
    assert all(point.true_accept_rate == 100 for point in found.at_rates)
    # Images of one identity are opposite, those of others at a right angle.
    signs = torch.tensor([1.0, -1.0]).repeat(4)[:, None]
    wrong = FeatureSet(features=torch.eye(4)[labels] * signs, identities=labels)
    found = evaluate_retrieval(wrong).verification
    assert (found.auc, found.equal_error_rate) == (0, 100)
    assert all(point.true_accept_rate == 0 for point in found.at_rates)
    assert all(point.threshold is None for point in found.at_rates)


def test_without_another_identity_there_is_nothing_to_verify():
    one = FeatureSet(features=torch.rand(6, 4), identities=torch.zeros(6, dtype=torch.int64))
    assert evaluate_retrieval(one).verification is None


def test_equal_images_are_at_distance_zero_whichever_block_they_are_in():
    features = torch.rand(1, 64).repeat(6, 1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    found = evaluate_retrieval(FeatureSet(features=features, identities=labels)).verification
    assert found.auc == pytest.approx(50)
    assert found.equal_error_threshold < 1e-6


@pytest.mark.parametrize("metric", DISTANCES)
def test_a_reranked_search_is_verified_by_its_own_distances(metric):
    settings = {"rerank": True, "k1": 6, "k2": 3, "metric": metric}
    query, gallery = images(50, seed=1), images(90, seed=2)
    found = evaluate_retrieval(query, gallery, RetrievalSpec(**settings)).verification
    same, different = pairs_of(query, gallery, metric)
    assert (found.same_pairs, found.different_pairs) == (len(same), len(different))
    assert 50 < found.auc < 100
    # With all the weight on the distance, each query's are divided by its farthest image's.
    plain = evaluate_retrieval(query, gallery, RetrievalSpec(**settings, lambda_=1.0)).verification
    assert plain.auc == pytest.approx(area(same, different), abs=5)


def test_thresholds_are_found_at_every_rate():
    different = torch.rand(997, generator=torch.Generator().manual_seed(0))
    for rate in (0, 1e-3, 0.1, 0.5, 0.999):
        threshold = threshold_at(different, rate)
        assert (different.double() <= threshold).double().mean() <= rate
        assert (different.double() <= math.nextafter(threshold, 2)).sum() > int(rate * 997)
    with pytest.raises(ArgumentError, match="from 0 to below 1"):
        threshold_at(different, 1.0)
    with pytest.raises(DataError, match="no pairs of two identities"):
        threshold_at(different[:0], 0.1)


def test_counts_of_any_distances_lie_in_their_bins():
    values = torch.tensor([0, 1e-12, 2e-5, 0.1, 0.5, 1, 1.9999, 2, 3e6], dtype=torch.float32)
    ends = pair_counts._largest_of(pair_counts._bins_of(values[None], torch.zeros(1, 1)))[
        0
    ].double()
    assert torch.equal(ends, ends.sort().values)
    assert ends[0] == ends[1] < 2e-5
    for value, end in zip(values[2:].double(), ends[2:], strict=True):
        assert value <= end <= value * (1 + 2**-10)
