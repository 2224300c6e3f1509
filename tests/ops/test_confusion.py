"""Confusions as pairs: the same counts as a matrix has, whatever the number of classes."""

import pytest
import torch

from covtool.errors import ArgumentError, ShapeError
from covtool.ops.confusion import LARGEST_MATRIX, confusions

CLASSES = 7


def drawn(images: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(CLASSES - 1, (2, images), generator=generator))


def test_the_matrix_has_the_counts_of_every_pair() -> None:
    right, given = drawn()
    expected = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    for row, column in zip(right.tolist(), given.tolist(), strict=True):
        expected[row, column] += 1
    found = confusions(right, given, CLASSES)
    assert torch.equal(found.matrix(), expected)
    assert torch.equal(found.images, expected[found.right, found.given])
    assert found.images.sum() == len(right)


def test_a_part_has_the_classes_in_the_order_asked_for() -> None:
    found, classes = confusions(*drawn(), CLASSES), torch.tensor([4, 0, 6])
    assert torch.equal(found.between(classes), found.matrix()[classes][:, classes])


def test_wrong_pairs_come_with_the_most_images_first_and_equals_by_class() -> None:
    found = confusions(*drawn(), CLASSES).wrong.largest_first()
    keys = list(
        zip((-found.images).tolist(), found.right.tolist(), found.given.tolist(), strict=True)
    )
    assert keys == sorted(keys)
    assert (found.right != found.given).all()


def test_many_classes_take_what_their_images_take_and_no_matrix() -> None:
    many = 10_000_000  # whose matrix would have 10^14 cells
    found = confusions(torch.tensor([5, many - 1]), torch.tensor([many - 1, 5]), many)
    assert found.right.tolist() == [5, many - 1]
    assert found.given.tolist() == [many - 1, 5]
    with pytest.raises(ArgumentError, match="A matrix of 10,000,000 classes"):
        found.matrix()
    assert many > LARGEST_MATRIX


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
def test_classes_may_be_integers_of_any_size(kind: torch.dtype) -> None:
    largest = min(99_999, torch.iinfo(kind).max)
    found = confusions(
        torch.tensor([20, largest], dtype=kind), torch.tensor([largest, 30], dtype=kind), 100_000
    )
    assert list(zip(found.right.tolist(), found.given.tolist(), strict=True)) == [
        (20, largest),
        (largest, 30),
    ]


@pytest.mark.parametrize(("right", "given"), [([0], [3]), ([-1], [0]), ([3], [1])])
def test_classes_that_are_none_are_refused(right: list[int], given: list[int]) -> None:
    with pytest.raises(ValueError, match="beyond 0 to 2"):
        confusions(torch.tensor(right), torch.tensor(given), 3)


def test_no_images_have_no_confusions() -> None:
    assert confusions(torch.tensor(()), torch.tensor(()), 3).matrix().tolist() == [[0] * 3] * 3


def test_answers_for_other_images_are_refused() -> None:
    with pytest.raises(ShapeError, match="given"):
        confusions(torch.tensor([0, 1]), torch.tensor([0]), CLASSES)
