"""Confused classes stand together: in one matrix, or in a small one for each group of them."""

import numpy as np
import pytest
import torch

from covtool.ops.confusion import Confusions
from covtool.plotting.confusion_figure import (
    BLOCK,
    confused_blocks,
    confusion_order,
    mistakes_within,
)

IMAGES = 50


def planted(groups: list[list[int]], classes: int, mistakes: int = 10) -> np.ndarray:
    """Return counts where each class is taken for the others of its group, equally often."""
    counts = np.diag(np.full(classes, IMAGES))
    for group in groups:
        for one in group:
            for other in group:
                if one != other:
                    counts[one, other] += mistakes
                    counts[one, one] -= mistakes
    return counts


def found(counts: np.ndarray) -> list[list[int]]:
    return [sorted(block.tolist()) for block in confused_blocks(pairs_of(counts))]


def pairs_of(counts: np.ndarray) -> Confusions:
    right, given = np.nonzero(counts)
    images = torch.from_numpy(counts[right, given]).long()
    size = len(counts)
    return Confusions(
        right=torch.from_numpy(right),
        given=torch.from_numpy(given),
        images=images,
        num_classes=size,
    )


def test_groups_are_those_that_are_confused_the_most_mistakes_first():
    groups = [[3, 77, 41], [5, 6], [90, 12, 44, 60]]
    counts = planted(groups, classes=100)
    assert found(counts) == [sorted(group) for group in (groups[2], groups[0], groups[1])]
    pairs = pairs_of(counts)
    blocks = confused_blocks(pairs)
    assert [mistakes_within(pairs, block) for block in blocks] == [120, 60, 20]


def test_single_mistakes_between_groups_do_not_join_them():
    counts = planted([[0, 1, 2], [3, 4, 5]], classes=50)
    counts[0, 3] += 1
    counts[9, 8] += 1
    assert found(counts) == [[0, 1, 2], [3, 4, 5]]


def test_a_group_has_a_bounded_number_of_classes_and_a_class_one_group():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (60, 60)) + np.diag(np.full(60, 20))
    blocks = found(counts)
    assert blocks
    assert max(map(len, blocks)) <= BLOCK
    everyone = [k for block in blocks for k in block]
    assert len(everyone) == len(set(everyone))


@pytest.mark.parametrize("classes", [1, 2, 50])
def test_without_a_mistake_there_is_no_group(classes):
    assert found(np.diag(np.full(classes, IMAGES))) == []


def test_a_class_without_images_is_in_a_group_by_what_it_is_given():
    counts = planted([], classes=50)
    counts[7, 7], counts[7, 9], counts[9, 9] = 10, 40, 0
    assert found(counts) == [[7, 9]]


def test_in_one_matrix_confused_classes_are_neighbors():
    order = confusion_order(planted([[0, 5], [2, 7]], classes=9)).tolist()
    for one, other in ((0, 5), (2, 7)):
        assert abs(order.index(one) - order.index(other)) == 1
