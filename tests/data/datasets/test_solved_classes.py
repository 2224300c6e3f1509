"""Classes of which too few images are there to solve a classifier."""

import re
from pathlib import Path

import pytest

from covtool.data.datasets.samples import Sample
from covtool.data.datasets.solved_classes import (
    notes_on_solved_classes,
    require_image_of_each_class,
)
from covtool.errors import ArgumentError

NAMES = ("ant", "bee", "cat", "dog", "elk")


def samples_of(*labels: int) -> list[Sample]:
    return [Sample(Path(f"{place}.png"), label) for place, label in enumerate(labels)]


@pytest.mark.parametrize("limit", [1, 4])
def test_fewer_images_than_classes_are_refused(limit) -> None:
    with pytest.raises(ArgumentError, match=f"{limit} is too few for 5 classes") as raised:
        require_image_of_each_class(limit, NAMES)
    assert "10 or more" in raised.value.hint


@pytest.mark.parametrize("limit", [None, 5, 100])
def test_an_image_of_each_is_enough(limit) -> None:
    require_image_of_each_class(limit, NAMES)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((0, 0, 1, 1, 2, 2, 3, 3, 4, 4), []),
        ((0, 0, 1, 1, 2, 2, 3, 3), ["1 of 5 classes has no training image.*recognized: elk"]),
        ((0, 0, 2, 2), ["3 of 5 classes have no training image.*recognized: bee, dog, elk"]),
        (
            (0, 0, 1, 1, 2, 2, 3, 3, 4),
            ["1 of 5 classes has a single training image.*its class: elk"],
        ),
        ((0, 1, 2, 2, 3, 3), ["1 of 5 classes has no", "2 of 5 classes have a single.*ant, bee"]),
    ],
)
def test_notes_name_the_classes(labels, expected) -> None:
    found = list(notes_on_solved_classes(samples_of(*labels), NAMES))
    assert len(found) == len(expected)
    assert all(re.search(pattern, note) for pattern, note in zip(expected, found, strict=True))


def test_what_is_not_judged_by_left_out_images_has_no_note_on_single_ones() -> None:
    assert not list(notes_on_solved_classes(samples_of(0, 1, 2, 3, 4), NAMES, judged=False))
