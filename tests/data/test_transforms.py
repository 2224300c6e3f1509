"""Images are prepared for training as they are for use."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from covtool.data.transforms import evaluation_transform, training_transform
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
