import itertools

import numpy as np
import pytest
import torch
from tolerances import EXACT, FLOAT32, FLOAT64
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError, UnknownVariantError
from covtool.ops import correlation, decorrelate
from covtool.ops.decorrelation import (
    DECOMPOSITIONS,
    fold_classifier,
    match_rows,
    smallest_eigenvalue_ratio,
)

K, FEATURES, CLASSES, IMAGES = 6, 10, 4, 20
RANKS = (6, 3, 1)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_rank(rank, seed=0):
    """A weight (K, FEATURES) of this rank."""
    return drawn(K, rank, seed=seed) @ drawn(rank, FEATURES, seed=seed + 1)


def space(rows):
    """The projector on what the rows span."""
    return torch.linalg.pinv(rows, rtol=1e-9) @ rows


@pytest.fixture
def features():
    return drawn(IMAGES, FEATURES, seed=9)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("row", list(DECOMPOSITIONS), ids=lambda row: row.name)
def test_the_rows_become_orthogonal_and_span_what_they_spanned(row, rank):
    weight = of_rank(rank)
    before = weight.clone()
    new = decorrelate(weight, decomposition=row.name)
    assert new.shape == weight.shape
    assert new.dtype == weight.dtype
    assert_close(weight, before, **EXACT)
    assert correlation(new).item() == pytest.approx(1, abs=1e-12)
    kept = space(new) @ space(weight)
    assert_close(kept, space(weight), rtol=0, atol=1e-8)


@pytest.mark.parametrize("rank", RANKS)
def test_us_keeps_every_distance_and_the_others_do_not(rank, features):
    weight = of_rank(rank)
    before = torch.cdist(features @ weight.mT, features @ weight.mT)
    for row in DECOMPOSITIONS:
        new = decorrelate(weight, decomposition=row.name)
        after = torch.cdist(features @ new.mT, features @ new.mT)
        assert torch.allclose(after, before, rtol=1e-9, atol=1e-9) == row.keeps_distances, row.name


def test_distances_are_kept_in_single_precision(features):
    weight, images = of_rank(K).float(), features.float()
    new = match_rows(decorrelate(weight), weight)
    before = torch.cdist(images @ weight.mT, images @ weight.mT)
    assert_close(torch.cdist(images @ new.mT, images @ new.mT), before, rtol=1e-5, atol=1e-5)


def test_uv_is_the_nearest_orthonormal_matrix_and_u_orthonormal():
    weight = of_rank(K)
    nearest = decorrelate(weight, decomposition="uv")
    distance = (weight - nearest).norm()
    for seed in range(50):
        other = torch.linalg.qr(drawn(FEATURES, K, seed=seed))[0].mT
        assert (weight - other).norm() > distance
    for name in ("u", "uv"):
        rows = decorrelate(weight, decomposition=name)
        assert_close(rows @ rows.mT, torch.eye(K, dtype=torch.float64), **FLOAT64)


def test_qr_has_the_lengths_of_what_is_new_in_each_vector():
    weight = of_rank(K)
    lengths = decorrelate(weight, decomposition="qr").norm(dim=1)
    for index in range(K):
        others = weight[:index]
        new = weight[index] - (weight[index] @ space(others) if index else 0)
        assert lengths[index].item() == pytest.approx(new.norm().item())


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("row", list(DECOMPOSITIONS), ids=lambda row: row.name)
def test_a_folded_classifier_keeps_every_logit(row, rank, features):
    weight, classifier = of_rank(rank), drawn(CLASSES, K, seed=5)
    new = match_rows(decorrelate(weight, decomposition=row.name), weight)
    folded = fold_classifier(classifier, weight, new)
    before = features @ weight.mT @ classifier.mT
    assert_close(features @ new.mT @ folded.mT, before, rtol=1e-9, atol=1e-9)
    kept = features @ new.mT @ classifier.mT
    assert not torch.allclose(kept, before, atol=0.1)


def test_the_correlation_is_that_of_the_definition():
    weight = drawn(5, 3)
    gram = [[float(a @ b) for a in weight.numpy()] for b in weight.numpy()]
    expected = sum(gram[i][i] for i in range(5)) / sum(abs(g) for row in gram for g in row)
    assert correlation(weight).item() == pytest.approx(expected, rel=1e-12)
    assert correlation(torch.ones(7, 3)).item() == pytest.approx(1 / 7)
    assert correlation(torch.zeros(3, 4)).item() == 1.0
    many = drawn(5000, 3)
    absolute = (many @ many.mT).abs().sum()
    assert correlation(many).item() == pytest.approx((many.square().sum() / absolute).item())


def test_the_smallest_eigenvalue_tells_twins_from_orthogonal_vectors():
    weight = drawn(5, 8)
    values = np.linalg.eigvalsh((weight @ weight.mT).numpy())
    shortest = weight.square().sum(1).min().item()
    assert smallest_eigenvalue_ratio(weight).item() == pytest.approx(values[0] / shortest)
    twins = torch.cat([weight, weight[:1]])
    assert smallest_eigenvalue_ratio(twins).item() == pytest.approx(0, abs=1e-12)
    assert smallest_eigenvalue_ratio(decorrelate(weight)).item() == pytest.approx(1)


def published_order(rows, old):
    """The authors' loop, on columns as in their code."""
    left = [row.numpy() for row in rows]
    ordered = []
    for vector in old.numpy():
        cosines = [c @ vector / np.linalg.norm(c) / np.linalg.norm(vector) for c in left]
        best = int(np.argmax(np.abs(cosines)))
        ordered.append(left.pop(best) * np.sign(cosines[best]))
    return torch.tensor(np.array(ordered))


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_matched_as_published(seed):
    old = drawn(K, FEATURES, seed=seed)
    rows = decorrelate(old)
    assert_close(match_rows(rows, old), published_order(rows, old), **FLOAT64)


def test_matching_undoes_a_permutation_and_signs():
    old = drawn(K, FEATURES)
    shuffled = old[torch.tensor([3, 0, 5, 1, 4, 2])] * torch.tensor([1, -1, 1, -1, -1, 1])[:, None]
    assert_close(match_rows(shuffled, old), old, **EXACT)


def test_the_optimal_assignment_is_the_best_of_all():
    old = drawn(4, FEATURES)
    rows = decorrelate(old)

    def closeness(matched):
        return torch.nn.functional.cosine_similarity(matched, old).abs().sum().item()

    best = max(closeness(rows[list(p)]) for p in itertools.permutations(range(4)))
    assert closeness(match_rows(rows, old, optimal=True)) == pytest.approx(best)


def test_what_is_not_a_number_is_not_orthogonal():
    weight = torch.eye(3)
    weight[0, 0] = torch.nan
    assert correlation(weight).isnan()
    assert smallest_eigenvalue_ratio(weight).isnan()


def test_without_scipy_the_optimal_assignment_is_refused(monkeypatch):
    monkeypatch.setattr("covtool.ops.decorrelation.find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match="needs scipy"):
        match_rows(drawn(2, 3), drawn(2, 3), optimal=True)


def test_more_vectors_than_features_leave_rows_of_zeros():
    weight = drawn(10, 4)
    new = decorrelate(weight)
    assert (new.norm(dim=1) > 1e-9).sum() == 4
    assert correlation(new).item() == pytest.approx(1)
    with pytest.raises(ShapeError, match="cannot be orthonormal"):
        decorrelate(weight, decomposition="uv")


def test_what_is_no_matrix_and_what_has_no_row_are_refused():
    with pytest.raises(ShapeError, match="weight must have shape"):
        correlation(torch.zeros(3))
    with pytest.raises(ShapeError, match="weight must have shape"):
        decorrelate(torch.zeros(2, 3, 1))
    with pytest.raises(ShapeError, match="old must have shape"):
        match_rows(drawn(2, 3), drawn(3, 3))
    with pytest.raises(UnknownVariantError, match="no decomposition named 'us2'"):
        decorrelate(drawn(2, 3), decomposition="us2")


def test_float32_weights_stay_float32():
    weight = of_rank(K).float()
    assert_close(decorrelate(weight), decorrelate(weight.double()).float(), **FLOAT32)
