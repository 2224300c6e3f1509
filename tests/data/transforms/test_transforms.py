"""Images are prepared for training as they are for use."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from covtool.data.rendering.draws import drawing
from covtool.data.transforms.from_timm import (
    evaluation_transform,
    training_transform,
    trivial_augment,
)
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec

STILL = AugmentationSpec(
    scale=(1.0, 1.0),
    ratio=(1.0, 1.0),
    hflip=0.0,
    color_jitter=0.0,
    train_interpolation="bilinear",
)


def wide_image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_squashed_images_are_squashed_in_training_too() -> None:
    images = InputSpec(size=(32, 32), crop_mode="squash", crop_pct=1.0)
    image = wide_image()
    trained = training_transform(images, STILL)(image)
    assert_close(trained, evaluation_transform(images)(image), rtol=0, atol=0.02)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_training_images_have_the_size_of_the_input(mode: str) -> None:
    images = InputSpec(size=(32, 48), crop_mode=mode)
    tensor = training_transform(images, AugmentationSpec())(wide_image())
    assert tensor.shape == (3, 32, 48)
    assert tensor.dtype == torch.float32


def stages(**settings: object) -> list[str]:
    transform = training_transform(InputSpec(size=(32, 32)), AugmentationSpec(**settings))
    return [type(stage).__name__ for stage in transform.transforms]


@pytest.mark.parametrize(
    ("aa", "policy"),
    [("rand-m9-mstd0.5-inc1", "RandAugment"), ("trivial", "TrivialAugmentWide")],
)
def test_a_policy_stands_between_crop_and_normalization_in_place_of_the_jitter(
    aa: str, policy: str
) -> None:
    plain = stages(vflip=0.1, reprob=0.2)
    assert plain[:3] == [
        "RandomResizedCropAndInterpolation", "RandomHorizontalFlip", "RandomVerticalFlip"
    ]  # fmt: skip
    assert plain[3:] == ["ColorJitter", "MaybeToTensor", "Normalize", "RandomErasing"]
    assert stages(vflip=0.1, reprob=0.2, aa=aa) == [*plain[:3], policy, *plain[4:]]


@pytest.mark.parametrize("aa", ["rand-m9-mstd0.5-inc1", "augmix-m3-w3", "original", "trivial"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_policy_draws_follows_from_the_seed_alone(aa: str, channels: int) -> None:
    images = InputSpec(size=(32, 32), channels=channels, mean=(0.5,), std=(0.2,))
    transform = training_transform(images, AugmentationSpec(aa=aa, reprob=0.5))
    seen = []
    for index in (0, 1, 0):
        with drawing(7, 3, index):
            seen.append(transform(wide_image()))
    assert seen[0].shape == (channels, 32, 32)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


def test_as_many_images_are_erased_as_is_asked_for() -> None:
    images = InputSpec(size=(32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
    transform = training_transform(images, STILL.model_copy(update={"reprob": 0.3}))
    black = Image.new("RGB", (32, 32))
    with drawing(0):
        erased = sum(bool(transform(black).any()) for _ in range(400))
    assert 90 < erased < 150  # 120 ± 3 standard deviations


def test_what_trivial_augment_leaves_empty_has_the_mean_color() -> None:
    gray = Image.new("RGB", (32, 32), (64, 128, 192))
    mean = (64 / 255, 128 / 255, 192 / 255)
    images = InputSpec(size=(32, 32), mean=mean, std=(1.0,) * 3)
    geometric = trivial_augment(mean)
    space = geometric._augmentation_space(31)
    geometric._augmentation_space = lambda bins: {
        name: space[name] for name in ("ShearX", "TranslateY", "Rotate")
    }
    still = training_transform(images, STILL)
    for index in range(20):
        with drawing(index):
            # Resampling rounds: 1 of 255.
            assert_close(still(geometric(gray)), torch.zeros(3, 32, 32), rtol=0, atol=1.1 / 255)


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("nearest", "nearest"),
        ("bicubic", "bicubic"),
        ("random", "bilinear"),
        ("lanczos", "bilinear"),
    ],
)
def test_trivial_augment_resamples_as_far_as_it_can_as_the_crops_do(asked: str, used: str) -> None:
    assert trivial_augment((0.5,), asked).interpolation.value == used


def test_an_unknown_policy_is_refused_with_examples() -> None:
    with pytest.raises(ArgumentError, match=r"'trivail'.*\n.*\n?Examples: trivial, rand-m9"):
        training_transform(InputSpec(size=(32, 32)), AugmentationSpec(aa="trivail"))
