"""What the numbers of images by class say."""

import numpy as np
import pytest
from images import write_classes

from covtool.data.datasets.class_findings import FINDERS, ClassCounts, notes_on_classes
from covtool.data.datasets.finding import Finding
from covtool.data.datasets.reading import scan
from covtool.data.images.format_mix import note_on_formats


def found(counts, *, splits=("train", "test"), training=(0,)):
    """Names and lines of the findings; classes are called a, b, c ..."""
    of = ClassCounts(
        class_names="abcdefghij"[: len(counts)],
        split_names=splits,
        counts=np.array(counts),
        training=training,
    )
    return {one.name: one.line for find in FINDERS for one in find(of)}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[9, 1], [5, 1]], {}),
        (
            [[9, 1], [0, 2]],
            {"untrained-classes": "1 class has images to test on and none to train on: b."},
        ),
        (
            [[9, 0], [9, 0], [9, 3]],
            {"untested-classes": "2 classes have images to train on and none to test on: a, b."},
        ),
        (
            [[50, 1], [5, 1]],
            {
                "uneven-classes": "Classes of 'train' are uneven: 'a' has 50 images, 'b' has 5 "
                "images."
            },
        ),
        ([[49, 1], [5, 1]], {}),
        ([[9, 1], [4, 1]], {"small-classes": "1 class of 'train' has fewer than 5 images: b (4)."}),
    ],
)
def test_each_finding_is_a_line(counts, expected):
    assert found(counts) == expected


def test_a_class_that_one_of_several_splits_lacks_is_named_once():
    lines = found([[9, 0, 2], [9, 3, 0], [9, 0, 0]], splits=("train", "val", "test"))
    assert lines == {
        "untested-classes": "1 class has images to train on and none to test on: c.",
        "missing-in-split-2": "1 class has no images in 'val': a.",
        "missing-in-split-3": "1 class has no images in 'test': b.",
    }


def test_without_splits_all_images_count_and_no_split_is_named():
    lines = found([[30], [1]], splits=("all",))
    assert lines["uneven-classes"] == "Classes are uneven: 'a' has 30 images, 'b' has 1 image."
    assert lines["small-classes"] == "1 class has fewer than 5 images: b (1)."


def test_what_is_never_trained_on_says_nothing_of_training():
    assert found([[30, 1], [1, 1]], training=()) == {}


def test_the_first_of_many_are_named_and_the_others_counted():
    line = found([[2, 1]] * 8)["small-classes"]
    assert line.endswith("a (2), b (2), c (2), d (2), e (2), and 3 more.")
    plain = Finding(severity="remark", name="x", count=9, text="Text.")
    assert plain.line == "Text."


def test_a_layout_is_counted_in_its_training_images(tmp_path):
    for split, counts in (("train", {"a": 20, "b": 2}), ("valid", {"a": 1, "b": 1})):
        write_classes(tmp_path / split, counts)
    assert notes_on_classes(scan(tmp_path)) == (
        "Classes of 'train' are uneven: 'a' has 20 images, 'b' has 2 images.",
        "1 class of 'train' has fewer than 5 images: b (2).",
    )


def test_one_format_is_no_finding():
    assert note_on_formats({}) is None
    assert note_on_formats({"PNG": 7}) is None
    assert note_on_formats({"PNG": 1, "WEBP": 1, "JPEG": 3000}) == (
        "Images have several formats: 3,000 JPEG, 1 PNG, 1 WEBP."
    )
