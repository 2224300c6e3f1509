import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from images import truncate, write_classes
from torch.testing import assert_close

from covtool.data.datasets.reading import scan
from covtool.data.loading.image_dataset import ImageDataset
from covtool.data.loading.loaders import evaluation_loader, training_loader
from covtool.data.rendering.draws import drawing
from covtool.data.transforms.from_timm import evaluation_transform, training_transform
from covtool.errors import ArgumentError, DataError
from covtool.specs import AugmentationSpec, InputSpec, ObjectiveSpec

SMALL = InputSpec(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
VARIED = AugmentationSpec(aa="rand-m9-mstd0.5-inc1", reprob=0.5)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = write_classes(tmp_path_factory.mktemp("data"), {"a": 4, "b": 3, "c": 4})
    return scan(folder).splits["train"]


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_goes_through_every_image_in_order(samples, workers) -> None:
    batches = list(evaluation_loader(samples, SMALL, batch_size=4, workers=workers))
    assert [len(labels) for _, labels in batches] == [4, 4, 3]
    assert torch.cat([labels for _, labels in batches]).tolist() == [s.label for s in samples]
    dataset = ImageDataset(samples, evaluation_transform(SMALL))
    expected = torch.stack([dataset[i][0] for i in range(len(samples))])
    assert_close(torch.cat([images for images, _ in batches]), expected, rtol=0, atol=0)


def _epoch(loader, epoch):
    loader.set_epoch(epoch)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_what_is_drawn_depends_on_seed_and_epoch_alone(samples) -> None:
    """Not on the workers, the batch size, what was drawn before, or other generators."""
    settings = {"drop_last": False, "seed": 5}
    alone = training_loader(samples, SMALL, VARIED, batch_size=4, workers=0, **settings)
    first, second = _epoch(alone, 0), _epoch(alone, 1)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with_workers = training_loader(samples, SMALL, VARIED, batch_size=3, workers=2, **settings)
    for epoch, expected in ((1, second), (0, first)):
        assert_close(_epoch(with_workers, epoch), expected, rtol=0, atol=0)
    assert not torch.equal(first[0], second[0])
    other = training_loader(
        samples, SMALL, VARIED, batch_size=4, workers=0, drop_last=False, seed=6
    )
    assert not torch.equal(_epoch(other, 0)[0], first[0])


def test_drawing_leaves_the_generators_as_they_were(samples) -> None:
    def drawn():
        return random.random(), np.random.random(), float(torch.rand(()))

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    expected = drawn()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    with drawing(1, 2):
        inside = drawn()
    assert drawn() == expected
    with drawing(1, 2):
        assert drawn() == inside


def test_an_incomplete_batch_is_left_out_only_beside_a_complete_one(samples) -> None:
    def sizes(batch_size):
        loader = training_loader(samples, SMALL, VARIED, batch_size=batch_size, workers=0)
        return len(loader), [len(labels) for _, labels in loader]

    assert sizes(5) == (2, [5, 5])
    assert sizes(64) == (1, [11])


def test_every_image_is_seen_once_an_epoch(samples) -> None:
    plain = AugmentationSpec(aug=False)
    loader = training_loader(samples, SMALL, plain, batch_size=4, workers=0, drop_last=False)
    images, labels = _epoch(loader, 2)
    expected = torch.cat([x for x, _ in evaluation_loader(samples, SMALL, workers=0)])
    order = [draw for batch in loader.batch_sampler for draw in batch]
    assert sorted(draw.index for draw in order) == list(range(len(samples)))
    assert_close(images, expected[[draw.index for draw in order]], rtol=0, atol=0)
    assert labels.tolist() == [samples[draw.index].label for draw in order]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_fails_midway_is_named(tmp_path, workers) -> None:
    samples = scan(write_classes(tmp_path, {"a": 3, "b": 3})).splits["train"]
    truncate(samples[4].path)
    with pytest.raises(DataError) as caught:
        list(evaluation_loader(samples, SMALL, batch_size=2, workers=workers))
    assert caught.value.message == f"The image {samples[4].path} cannot be read."
    assert "truncated" in caught.value.reason


def test_a_negative_seed_is_refused(samples) -> None:
    with pytest.raises(ArgumentError, match="must not be negative, but it is -1"):
        training_loader(samples, SMALL, VARIED, seed=-1)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_the_evaluation_input_has_the_size_and_statistics_asked_for(samples, mode) -> None:
    spec = InputSpec(size=(10, 14), mean=(0.2, 0.4, 0.6), std=(0.5, 1, 2), crop_mode=mode)
    neutral = spec.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    (image, _), (raw, _) = (
        ImageDataset(samples, evaluation_transform(s))[0] for s in (spec, neutral)
    )
    assert image.shape == (3, 10, 14)
    if mode != "border":  # which fills up with the mean
        expected = (raw - torch.tensor([0.2, 0.4, 0.6])[:, None, None]) / torch.tensor(
            [0.5, 1, 2]
        ).view(3, 1, 1)
        assert_close(image, expected)


def test_a_gray_model_gets_one_channel(samples) -> None:
    gray = InputSpec(channels=1, size=(12, 12), mean=(0.4, 0.5, 0.6), std=(0.2,))
    (images, _) = next(iter(evaluation_loader(samples, gray, workers=0)))
    (varied, _) = next(iter(training_loader(samples, gray, VARIED, batch_size=4, workers=0)))
    assert images.shape == (11, 1, 12, 12)
    assert varied.shape == (4, 1, 12, 12)
    rgb = SMALL.model_copy(update={"mean": (0.5,), "std": (0.2,)})
    dataset = ImageDataset(samples, evaluation_transform(rgb), gray=True)
    assert_close(images[0], dataset[0][0][:1])


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentError, match="takes images of 4 channels"):
        evaluation_transform(InputSpec(channels=4))
    with pytest.raises(ArgumentError, match="The mean has 2 values, the images have 3 channels"):
        evaluation_transform(InputSpec(mean=(0.5, 0.5)))
    with pytest.raises(ArgumentError, match="timm cannot build the augmentation 'nonsense'"):
        training_transform(InputSpec(), AugmentationSpec(aa="nonsense"))


def test_an_image_that_comes_twice_is_varied_differently(samples) -> None:
    objective = ObjectiveSpec(sampler="pk", num_instances=5)
    loader = training_loader(samples, SMALL, VARIED, objective=objective, batch_size=10, workers=0)
    images, labels = _epoch(loader, 0)
    draws = [draw for batch in loader.batch_sampler for draw in batch]
    repeated = next(at for at, draw in enumerate(draws) if draw.occurrence == 1)
    first = next(at for at, draw in enumerate(draws) if draw.index == draws[repeated].index)
    assert labels[first] == labels[repeated]
    assert not torch.equal(images[first], images[repeated])
    usual = training_loader(samples, SMALL, VARIED, batch_size=11, workers=0)
    others, _ = _epoch(usual, 0)
    at = [draw.index for batch in usual.batch_sampler for draw in batch].index(draws[first].index)
    assert torch.equal(images[first], others[at])


def test_a_process_ends_though_its_workers_do_not_heed_signals(tmp_path):
    write_classes(tmp_path / "train", {"a": 8})
    code = f"""
from pathlib import Path
from covtool.data.datasets.reading import scan
from covtool.data.loading.loaders import training_loader
from covtool.specs import AugmentationSpec, InputSpec

samples = scan(Path({str(tmp_path)!r})).samples("train")
loader = training_loader(samples, InputSpec(size=(8, 8)), AugmentationSpec(), batch_size=2)
batches = iter(loader)
next(batches)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
