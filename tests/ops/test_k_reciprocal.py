"""k-reciprocal neighbors are those of the definition, image by image."""

import pytest
import torch

from covtool.ops.k_reciprocal import expanded, reciprocal

NUM_IMAGES = 25


def ranking(seed: int, count: int) -> torch.Tensor:
    points = torch.randn(NUM_IMAGES, 3, generator=torch.Generator().manual_seed(seed))
    distances = torch.cdist(points, points).fill_diagonal_(-1)
    return distances.argsort(1)[:, :count]


def mutual(neighbors: torch.Tensor, image: int, count: int) -> set[int]:
    nearest = [set(row[:count]) for row in neighbors.tolist()]
    return {other for other in nearest[image] if image in nearest[other]}


@pytest.mark.parametrize("count", [1, 4, 9, NUM_IMAGES])
def test_neighbors_are_mutual(count: int) -> None:
    neighbors = ranking(0, NUM_IMAGES)
    rows = torch.tensor([7, 0, 24, 7])
    found = reciprocal(neighbors, rows, count)
    for row, chosen in zip(rows.tolist(), found, strict=True):
        assert set(neighbors[row, :count][chosen].tolist()) == mutual(neighbors, row, count)
        assert chosen[0]  # every image is a neighbor of its own


@pytest.mark.parametrize(("count", "fewer"), [(9, 5), (5, 3), (2, 1), (1, 1), (NUM_IMAGES, 13)])
def test_sets_that_are_mostly_shared_are_added(count: int, fewer: int) -> None:
    added = 0
    for seed in range(6):
        neighbors = ranking(seed, count)
        every = torch.arange(NUM_IMAGES)
        near, nearer = (reciprocal(neighbors, every, k) for k in (count, fewer))
        rows = torch.tensor([3, 11, 0, 24])
        places, members = expanded(neighbors, near, nearer, rows)
        for place, row in enumerate(rows.tolist()):
            expected = set(mutual(neighbors, row, count))
            for other in mutual(neighbors, row, count):
                theirs = mutual(neighbors, other, fewer)
                if 3 * len(theirs & mutual(neighbors, row, count)) > 2 * len(theirs):
                    expected |= theirs
            assert members[places == place].tolist() == sorted(expected)
            added += len(expected) - len(mutual(neighbors, row, count))
    # More than two thirds of three images or fewer are all of them: there is nothing to add.
    assert (added > 0) == (3 < fewer < count < NUM_IMAGES)
