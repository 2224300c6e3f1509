from collections import Counter

import numpy as np
import pytest
import torch
from images import truncate, write_classes
from torch.testing import assert_close

from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.data.loading.unreadable import ATTEMPTS, stand_ins
from covtool.data.rendering.draws import Draw
from covtool.errors import DataError
from covtool.specs import AugmentationSpec, InputSpec, ObjectiveSpec

SMALL = InputSpec(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
VARIED = AugmentationSpec(aa="rand-m9-mstd0.5-inc1", reprob=0.5)


@pytest.fixture
def samples(tmp_path):
    return scan(write_classes(tmp_path, {"a": 4, "b": 3, "c": 4})).splits["train"]


def loader(samples, *, workers=0, batch_size=4, **settings):
    size = {"batch_size": batch_size, "workers": workers, "drop_last": False}
    return training_loader(samples, SMALL, VARIED, seed=5, **size, **settings)


def epoch(loader, number):
    loader.set_epoch(number)
    return list(loader)


@pytest.mark.parametrize("damage", [truncate, lambda path: path.unlink()])
@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_with_whole_batches_whoever_loads_them(samples, workers, damage):
    expected = epoch(loader(samples), 3)
    damage(samples[5].path)  # the middle one of three of class b
    found = loader(samples, workers=workers, on_bad_image="skip")
    told = []
    found.on_unreadable = told.append
    batches = epoch(found, 3)
    assert [images.shape for images, _ in batches] == [images.shape for images, _ in expected]
    order = [draw.index for batch in found.batch_sampler for draw in batch]
    at = order.index(5)
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    whole, whole_labels = (torch.cat(part) for part in zip(*expected, strict=True))
    assert labels.tolist() == whole_labels.tolist()  # another one of its class
    others = [place for place in range(len(order)) if place != at]
    assert_close(images[others], whole[others], rtol=0, atol=0)
    assert_close(images[at], found.dataset.dataset.varied(*first_stand_in(samples, 3))[0])
    assert [unreadable.path for unreadable in told] == [str(samples[5].path)]
    assert told[0].reason


def first_stand_in(samples, number):
    draw = Draw(number, 5)
    return next(stand_ins(samples, draw, 5)), draw


def test_every_other_image_may_stand_in_those_of_the_class_first(samples):
    order = list(stand_ins(samples, Draw(0, 5), 1))
    assert sorted(order) == sorted(set(range(len(samples))) - {5})
    assert {samples[index].label for index in order[:2]} == {1}
    assert order == list(stand_ins(samples, Draw(0, 5), 1))
    assert any(order != list(stand_ins(samples, Draw(e, 5), 1)) for e in range(1, 4))


def test_each_image_of_a_class_stands_in_as_often_as_the_others():
    """On average over epochs: a fixed neighbor would be seen twice in each of them."""
    samples = [Sample(None, 0)] * 5 + [Sample(None, 1)]
    count = Counter(next(stand_ins(samples, Draw(e, 2), 0)) for e in range(2000))
    assert set(count) == {0, 1, 3, 4}
    # Four equal chances: the count of each has a deviation of 19.4.
    assert all(abs(number - 500) < 5 * np.sqrt(2000 * 0.25 * 0.75) for number in count.values())


def test_the_law_holds_for_balanced_batches(samples):
    objective = ObjectiveSpec(sampler="pk", num_instances=2)
    truncate(samples[5].path)
    found = loader(samples, batch_size=4, objective=objective, on_bad_image="skip")
    for _, labels in epoch(found, 0):
        assert sorted(Counter(labels.tolist()).values()) == [2, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_leaves_them_out(samples, workers):
    for index in (1, 4, 5):
        truncate(samples[index].path)
    size = {"batch_size": 2, "workers": workers}
    found = evaluation_loader(samples, SMALL, **size, on_bad_image="skip")
    told = []
    found.on_unreadable = told.append
    batches = list(found)
    assert [len(labels) for _, labels in batches] == [1, 2, 2, 2, 1]  # none of an empty batch
    expected = [s.label for i, s in enumerate(samples) if i not in (1, 4, 5)]
    assert torch.cat([labels for _, labels in batches]).tolist() == expected
    assert [unreadable.path for unreadable in told] == [str(samples[i].path) for i in (1, 4, 5)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_that_is_gone_is_an_error_all_the_same(tmp_path, workers):
    samples = scan(write_classes(tmp_path, {"a": 20, "b": 10})).splits["train"]
    for sample in samples:
        sample.path.unlink()
    with pytest.raises(DataError, match="cannot be read") as caught:
        epoch(loader(samples, workers=workers, on_bad_image="skip"), 0)
    assert f"Neither can {ATTEMPTS} others" in caught.value.reason
    assert "still there" in caught.value.hint
