"""Kept embeddings: close to exact distances, in few bytes, and nothing a file says is believed."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from tolerances import EXACT
from torch.testing import assert_close

from covtool.errors import ArgumentError, ShapeError
from covtool.ops import neighbors as module
from covtool.ops.neighbors import LONGEST_EXACT, Neighbors, normalized, sketch_for

LENGTHS = pytest.mark.parametrize("features", [8, 300, 5000])


def drawn(features, *, images=240, classes=6, seed=0):
    """Embeddings of clusters, as a network makes them; those that follow are of other clusters."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(2 * classes, features, generator=generator).relu()
    noise = torch.randn(2 * images, features, generator=generator)
    points = centers.repeat_interleave(images // classes, dim=0) + 0.7 * noise
    return points[:images], points[images:]


def kept(embeddings):
    sketch = sketch_for(embeddings.shape[1])
    return Neighbors.of(normalized(embeddings, sketch), sketch)


def exact(queries, embeddings, nearest):
    plain = [
        part.double().numpy() / np.linalg.norm(part.double().numpy(), axis=1, keepdims=True)
        for part in (queries, embeddings)
    ]
    return np.sort(cdist(*plain), axis=1)[:, :nearest].mean(axis=1)


@LENGTHS
@pytest.mark.parametrize("nearest", [1, 10])
def test_distances_are_nearly_the_exact_ones(features, nearest) -> None:
    known, others = drawn(features)
    found = kept(known).distances(others, nearest=nearest)
    # Beyond the exact length, the sketch adds an error of a few percent to each pair.
    assert_close(
        found.double(),
        torch.tensor(exact(others, known, nearest)),
        rtol=0.01 if features <= LONGEST_EXACT else 0.06,
        atol=5e-3,  # a byte, where images are close
    )


def test_short_embeddings_lose_no_more_than_a_byte_does() -> None:
    known, others = drawn(8)
    found = kept(known).distances(others, nearest=10)
    assert_close(found.double(), torch.tensor(exact(others, known, 10)), rtol=2e-3, atol=1e-3)


@LENGTHS
def test_they_take_a_byte_a_direction_and_the_input_is_unchanged(features) -> None:
    known, _ = drawn(features)
    before = known.clone()
    tensors = kept(known).tensors
    assert_close(known, before, **EXACT)
    rows = sum(t.nbytes for t in (tensors["codes"], tensors["scales"], tensors["remainders"]))
    assert rows <= len(known) * (256 + 8)
    assert Neighbors.from_tensors(tensors).num_features == features


@LENGTHS
def test_blocks_change_nothing(features, monkeypatch) -> None:
    known, others = drawn(features)
    whole = kept(known).distances(others, nearest=7)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 1000)
    assert_close(kept(known).distances(others, nearest=7), whole, rtol=1e-4, atol=1e-4)


def test_lengths_do_not_matter_and_the_nearest_are_at_most_all() -> None:
    known, others = drawn(8)
    keeper = kept(known)
    assert_close(
        keeper.distances(17 * others, nearest=3), keeper.distances(others, nearest=3), rtol=1e-4,
        atol=1e-5,
    )  # fmt: skip
    assert_close(keeper.distances(others, nearest=10**6), keeper.distances(others, nearest=240))
    assert keeper.distances(others[:0], nearest=3).shape == (0,)


@pytest.mark.parametrize("rows", [1, 2])
def test_one_embedding_equal_ones_and_zeros_are_kept(rows) -> None:
    for embeddings in (torch.ones(rows, 4), torch.zeros(rows, 4)):
        found = kept(embeddings).distances(embeddings, nearest=1)
        assert found.isfinite().all()
        assert float(found.max()) < 0.05


def test_no_embeddings_and_others_than_the_kept_are_refused() -> None:
    with pytest.raises(ArgumentError, match="no embeddings"):
        kept(torch.zeros(0, 4))
    with pytest.raises(ShapeError, match=r"\(B, 4\)"):
        kept(torch.ones(3, 4)).distances(torch.ones(3, 5), nearest=1)


@pytest.mark.parametrize("name", ["codes", "scales", "remainders", "mean", "directions"])
@pytest.mark.parametrize(
    "damage",
    [lambda t: t[:-1], lambda t: t.double(), lambda t: t[..., None], lambda t: t.sum()],
    ids=["short", "other numbers", "other axes", "no axes"],
)
def test_tensors_of_a_file_that_do_not_fit_are_refused(name, damage) -> None:
    tensors = kept(drawn(300)[0]).tensors
    with pytest.raises(ShapeError):
        Neighbors.from_tensors({**tensors, name: damage(tensors[name])})


def test_missing_surplus_infinite_and_misplaced_tensors_are_refused() -> None:
    tensors = kept(drawn(5000)[0]).tensors
    wrong = [
        {name: t for name, t in tensors.items() if name != "codes"},
        {**tensors, "more": torch.ones(1)},
        {**tensors, "scales": tensors["scales"] * torch.inf},
        {**tensors, "buckets": tensors["buckets"] + 1000},
        {**tensors, "buckets": tensors["buckets"] - 1},
        {**tensors, "signs": tensors["signs"][:-1]},
        {**tensors, "codes": tensors["codes"][:0]},
    ]
    for found in wrong:
        with pytest.raises(ShapeError):
            Neighbors.from_tensors(found)
