"""Batches from a cache are those from files: exactly, or up to how two libraries resize."""

import random

import numpy as np
import pytest
import torch
from images import write_photographs
from torch.testing import assert_close

from covtool.data.cache import (
    CacheRequest,
    CacheSetting,
    evaluation_form,
    open_caches,
    training_form,
)
from covtool.data.datasets.reading import scan
from covtool.data.loading.batch_sampler import Shard
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.data.rendering import batch_ring
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec, ObjectiveSpec

SMALL = InputSpec(size=(24, 20), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
GRAY = InputSpec(channels=1, size=(24, 20), mean=(0.4,), std=(0.2,))
SIZES = [(40, 30), (50, 50), (30, 50), (64, 64), (60, 20), (12, 10), (22, 90), (33, 44), (45, 31)]
VARIED = AugmentationSpec(reprob=0.3)
WHOLE = (0.05, 1.0)  # so small crops that nothing is shrunk
POLICY = AugmentationSpec(aa="rand-m9-mstd0.5-inc1", reprob=0.3, scale=WHOLE)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = write_photographs(tmp_path_factory.mktemp("data") / "photographs", SIZES)
    return scan(folder).splits["train"]


@pytest.fixture
def cached(samples, tmp_path):
    def make(form, input=SMALL, cache="ram"):
        place = {"cache_dir": str(tmp_path / "cache")} if cache == "disk" else {}
        setting = CacheSetting(
            spec=LoadingSpec(cache=cache, **place),
            root=samples[0].path.parents[1],
            gray=input.channels == 1,
        )
        return open_caches([CacheRequest(split="train", samples=samples, form=form)], setting)[0]

    return make


def epoch_of(loader, epoch=0, start=0):
    loader.set_epoch(epoch, start=start)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("cache", ["ram", "disk", "device"])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("input", [SMALL, GRAY], ids=["rgb", "gray"])
def test_evaluation_is_bit_by_bit_that_of_files(samples, cached, mode, input, cache):
    input = input.model_copy(update={"crop_mode": mode})
    from_files = evaluation_loader(samples, input, batch_size=4, workers=0)
    from_cache = evaluation_loader(
        cached(evaluation_form(input), input, cache), input, batch_size=4, workers=2
    )
    assert len(from_cache) == len(from_files) == 3
    assert len(from_cache.dataset) == len(samples)
    for one, other in zip(from_cache, from_files, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("augmentation", [AugmentationSpec(aug=False), POLICY])
@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("input", [SMALL, GRAY], ids=["rgb", "gray"])
def test_training_with_pillow_is_bit_by_bit_that_of_files(
    samples, cached, mode, input, augmentation
):
    """Prepared, or varied by a policy; as long as whole images are kept."""
    input = input.model_copy(update={"crop_mode": mode})
    settings = {"batch_size": 4, "workers": 0, "seed": 3}
    images = cached(training_form(input, augmentation), input)
    from_cache = training_loader(images, input, augmentation, **settings)
    from_files = training_loader(samples, input, augmentation, **settings)
    for epoch in range(2):
        assert_same(epoch_of(from_cache, epoch), epoch_of(from_files, epoch))


def test_training_on_tensors_is_that_of_files_up_to_rounding(samples, cached):
    augmentation = AugmentationSpec(scale=WHOLE, color_jitter=0.2)
    settings = {"batch_size": 4, "workers": 0, "drop_last": False}
    images = cached(training_form(SMALL, augmentation))
    (one, labels), (other, expected) = (
        epoch_of(training_loader(source, SMALL, augmentation, **settings))
        for source in (images, samples)
    )
    assert labels.tolist() == expected.tolist()
    assert one.shape == other.shape
    assert one.is_contiguous()
    distance = (one - other).abs() * 255 * torch.tensor(SMALL.std).view(3, 1, 1)
    assert distance.mean() < 0.5


@pytest.mark.parametrize("augmentation", [VARIED, AugmentationSpec(), POLICY])
def test_what_is_drawn_depends_on_seed_epoch_and_image_alone(cached, augmentation):
    """Not on the workers, the batch size, where it starts, or other generators."""
    settings = {"drop_last": False, "seed": 5}
    images = cached(training_form(SMALL, augmentation), cache="disk")
    alone = training_loader(images, SMALL, augmentation, batch_size=4, workers=0, **settings)
    first, second = epoch_of(alone, 0), epoch_of(alone, 1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate()
    working = training_loader(images, SMALL, augmentation, batch_size=3, workers=2, **settings)
    for epoch, expected in ((1, second), (0, first)):
        assert_same(epoch_of(working, epoch), expected)
    assert random.getstate() == before
    assert_same(epoch_of(alone, 1, start=1), [part[4:] for part in second])
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("augmentation", [AugmentationSpec(color_jitter=0), VARIED])
def test_batches_that_were_handed_out_stay_as_they_are(cached, augmentation):
    """Though workers use the memory that they hand them over in again."""
    images = cached(training_form(SMALL, augmentation))
    settings = {"batch_size": 2, "drop_last": False}
    kept = training_loader(images, SMALL, augmentation, workers=1, **settings)
    assert kept.dataset.dataset.ring is not None
    for epoch in range(2):  # nine images: five batches through three slots
        expected = training_loader(images, SMALL, augmentation, workers=0, **settings)
        assert_same(epoch_of(kept, epoch), epoch_of(expected, epoch))


def test_an_epoch_that_was_left_midway_does_not_disturb_the_next(cached):
    augmentation = AugmentationSpec()
    images = cached(training_form(SMALL, augmentation))
    settings = {"batch_size": 1, "drop_last": False}
    loader = training_loader(images, SMALL, augmentation, workers=2, **settings)
    loader.set_epoch(0)
    next(iter(loader))
    expected = training_loader(images, SMALL, augmentation, workers=0, **settings)
    assert_same(epoch_of(loader, 1), epoch_of(expected, 1))


def test_without_room_in_shared_memory_batches_go_torchs_way(cached, monkeypatch):
    images = cached(training_form(SMALL, VARIED))
    settings = {"batch_size": 2, "workers": 1}
    usual = training_loader(images, SMALL, VARIED, **settings)
    monkeypatch.setattr(batch_ring, "_free_shared_memory", lambda: 0)
    cramped = training_loader(images, SMALL, VARIED, **settings)
    assert cramped.dataset.dataset.ring is None
    assert_same(epoch_of(cramped), epoch_of(usual))


def test_processes_share_the_batches_of_one(cached):
    images = cached(training_form(SMALL, VARIED))

    def loader(shard=None):
        size = 4 if shard is None else 2
        return training_loader(images, SMALL, VARIED, batch_size=size, workers=0, shard=shard)

    parts = [epoch_of(loader(Shard(rank, 2))) for rank in range(2)]
    together = [
        torch.stack([a.view(-1, 2, *a.shape[1:]) for a in p], 1).flatten(0, 2)
        for p in zip(*parts, strict=True)
    ]
    assert_same(together, epoch_of(loader()))


def test_an_image_that_comes_again_in_an_epoch_is_varied_anew(cached):
    augmentation = AugmentationSpec()
    loader = training_loader(
        cached(training_form(SMALL, augmentation)),
        SMALL,
        augmentation,
        objective=ObjectiveSpec(sampler="pk", num_instances=8),
        batch_size=16,
        workers=0,
    )
    images, labels = epoch_of(loader)
    assert len(labels) == 16
    assert len({image.numpy().tobytes() for image in images}) == 16


def test_huge_images_are_kept_small(tmp_path):
    folder = write_photographs(tmp_path / "huge", [(1200, 900), (900, 1200)])
    form = training_form(SMALL, VARIED)
    setting = CacheSetting(spec=LoadingSpec(cache="ram"), root=folder)
    request = CacheRequest(split="train", samples=scan(folder).splits["train"], form=form)
    (images,) = open_caches([request], setting)
    assert max(images.images[0].shape) < 70
    loader = training_loader(images, SMALL, VARIED, batch_size=2, workers=0)
    assert epoch_of(loader)[0].shape == (2, 3, 24, 20)
