"""Batches that are varied on a device are those that are varied image by image on the CPU.

Run on the CPU: the same operations, on tensors that are elsewhere.
"""

import numpy as np
import pytest
import torch
from images import photograph
from PIL import Image
from torch.testing import assert_close

from covtool.data.cache.stored import StoredImages, StoredIndex
from covtool.data.rendering.choice import require_tensors
from covtool.data.rendering.on_device import DeviceRenderer, resize_together, resize_weights
from covtool.data.rendering.renderers import TensorRenderer, Wanted
from covtool.data.rendering.variation import VariedSteps
from covtool.data.transforms.from_timm import training_transform
from covtool.data.transforms.normalization import Normalization
from covtool.errors import ArgumentError
from covtool.specs import AugmentationSpec, InputSpec

INPUT = InputSpec(size=(32, 40), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
GRAY = InputSpec(channels=1, size=(32, 40), mean=(0.4,), std=(0.2,))
SIZES = [(60, 40), (41, 90), (33, 33), (200, 120), (20, 25), (50, 50)]
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def stored(channels=3):
    images = [np.asarray(photograph(size, seed=i))[..., :channels] for i, size in enumerate(SIZES)]
    shapes = [image.shape[:2] for image in images]
    spaces = [(2 * height, 2 * width) for height, width in shapes]  # kept at half their size
    row = torch.from_numpy(np.concatenate([image.ravel() for image in images]))
    return StoredImages(StoredIndex.lay_out(shapes, spaces, channels), row, channels)


@pytest.mark.parametrize("filter", ["random", "nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("input", [INPUT, GRAY], ids=["rgb", "gray"])
def test_a_batch_is_that_of_the_cpu_up_to_rounding(input, filter):
    """Crop, filter, flips, colors, what is erased: all of a batch at once."""
    augmentation = AugmentationSpec(vflip=0.3, reprob=0.5, train_interpolation=filter)
    steps = VariedSteps(training_transform(input, augmentation))
    normalization = Normalization(input.mean, input.std)
    images, results = stored(input.channels), []
    batch = [Wanted(row % len(SIZES), (7, row)) for row in range(36)]
    for kind in (TensorRenderer, DeviceRenderer):
        render = kind(steps, normalization)
        out = render.layout.empty(len(batch))
        render(images, batch, out)
        results.append(out)
    std = torch.tensor(input.std).view(-1, 1, 1)
    distance = (results[0] - results[1]).abs() * 255 * std
    assert distance.mean() < 0.5
    assert distance.quantile(0.99) < (40 if filter == "nearest" else 3)


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("size", [(17, 23), (64, 48)])  # smaller and larger
def test_resizing_is_pillows(name, size):
    images = [photograph((30, 40), seed=1), photograph((55, 21), seed=2)]
    parts = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]
    resized = resize_together(parts, [name] * 2, size, mirrored=[(False, False)] * 2)
    for image, result in zip(images, resized, strict=True):
        expected = np.asarray(image.resize(size[::-1], FILTERS[name])).astype(float)
        distance = np.abs(result.permute(1, 2, 0).numpy() - expected)
        assert distance.max() <= 2  # Pillow may round after the other axis
        assert distance.mean() < 0.3


def test_every_output_pixel_is_a_weighted_mean_of_the_images_own_pixels():
    lengths = [5, 30, 100]
    for name in FILTERS:
        weights = resize_weights(lengths, 24, [name] * 3, [False] * 3)
        assert_close(weights.sum(-1), torch.ones(3, 24))
        for row, length in zip(weights, lengths, strict=True):
            assert not row[:, length:].any()
    same = resize_weights([24], 24, ["bicubic"], [False])
    assert_close(same[0], torch.eye(24))


def test_a_mirrored_axis_has_its_weights_the_other_way_round():
    plain = resize_weights([30], 24, ["bilinear"], [False])
    mirrored = resize_weights([30], 24, ["bilinear"], [True])
    assert_close(mirrored, plain.flip(1))
    assert_close(mirrored, plain.flip(2), atol=1e-6, rtol=0)  # the filter is symmetric


def test_what_needs_pillow_is_refused_for_a_device():
    require_tensors(INPUT, AugmentationSpec())
    require_tensors(INPUT, AugmentationSpec(aug=False))
    with pytest.raises(ArgumentError, match=r"--aa rand-m9 works on Pillow's images"):
        require_tensors(INPUT, AugmentationSpec(aa="rand-m9"))
    with pytest.raises(ArgumentError, match="--train-interpolation lanczos works"):
        require_tensors(INPUT, AugmentationSpec(train_interpolation="lanczos"))
