"""Cached images are varied as those of files are: by the same draws, to the same pixels."""

import random

import numpy as np
import pytest
import torch
from images import photograph
from PIL import Image
from timm.data import transforms as timm_transforms
from torchvision.transforms import ColorJitter

from covtool.data.cache.stored import StoredImages, StoredIndex
from covtool.data.rendering.choice import renderer_for
from covtool.data.rendering.draws import drawing
from covtool.data.rendering.renderers import PillowRenderer, TensorRenderer, Wanted
from covtool.data.rendering.variation import Crop, VariedSteps
from covtool.data.transforms.from_timm import training_transform
from covtool.data.transforms.normalization import Normalization
from covtool.data.transforms.pixels import ColorChanges
from covtool.specs import AugmentationSpec, InputSpec

INPUT = InputSpec(size=(32, 40), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
NORMALIZATION = Normalization(INPUT.mean, INPUT.std)
EVERYTHING = AugmentationSpec(hflip=0.5, vflip=0.3, color_jitter=0.4, reprob=0.5)
SEEDS = range(60)


def as_cached(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


def rendered(render, image: torch.Tensor, space: tuple[int, int] | None = None) -> torch.Tensor:
    """What becomes of one image, whose crops are drawn in another size where that is said."""
    size = tuple(image.shape[:2])
    index = StoredIndex.lay_out([size], [space or size], image.shape[2])
    places = render.layout.empty(1)
    render(StoredImages(index, image.contiguous().flatten(), image.shape[2]), [Wanted(0)], places)
    return places[0]


def unlike(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """How far normalized images are apart, in steps of 8-bit pixels."""
    return (first - second).abs() * 255 * torch.tensor(INPUT.std).view(3, 1, 1)


def sizes(count: int) -> list[tuple[int, int]]:
    generator = np.random.default_rng(0)
    return [tuple(size) for size in generator.integers(40, 200, (count, 2)).tolist()]


def test_crops_and_filters_are_those_of_the_transform(monkeypatch):
    """What timm asks torchvision for, and what is drawn for the cache, from the same seed."""
    used = []
    monkeypatch.setattr(
        timm_transforms.F, "resized_crop", lambda image, *how: used.append(how) or image
    )
    steps = VariedSteps(training_transform(INPUT, AugmentationSpec(scale=(0.1, 1))))
    filters = set()
    for seed, size in enumerate(sizes(300)):
        with drawing(seed):
            steps.crop(Image.new("RGB", size))
        with drawing(seed):
            crop = steps.draw_crop(size[::-1])
        *box, output, mode = used.pop()
        assert (tuple(box), mode.value) == (crop.box, crop.filter)
        assert output == INPUT.size
        filters.add(crop.filter)
    assert filters == {"bilinear", "bicubic"}


@pytest.mark.parametrize("name", ["hflip", "vflip"])
def test_flips_come_as_often_as_they_are_asked_for(name):
    chance, count = 0.3, 2000
    augmentation = AugmentationSpec(**{"hflip": 0.0, "vflip": 0.0, name: chance})
    steps = VariedSteps(training_transform(INPUT, augmentation))
    with drawing(1):
        drawn = [steps.draw_variation() for _ in range(count)]
    flips = sum(getattr(variation, name) for variation in drawn)
    other = {"hflip": "vflip", "vflip": "hflip"}[name]
    assert abs(flips - chance * count) < 4 * (count * chance * (1 - chance)) ** 0.5
    assert not any(getattr(variation, other) for variation in drawn)


@pytest.mark.parametrize("filter", ["random", "nearest", "bilinear", "bicubic"])
def test_the_same_seed_gives_the_same_image(filter):
    """Crop, filter, flips, colors and what is erased: up to how two libraries round."""
    augmentation = EVERYTHING.model_copy(update={"train_interpolation": filter})
    transform = training_transform(INPUT, augmentation)
    render = renderer_for(transform, NORMALIZATION)
    assert isinstance(render, TensorRenderer)
    for seed, size in zip(SEEDS, sizes(len(SEEDS)), strict=True):
        image = photograph(size, seed=seed)
        with drawing(seed):
            expected = transform(image)
            after = random.random(), torch.rand(())
        with drawing(seed):
            varied = rendered(render, as_cached(image))
            assert (random.random(), torch.rand(())) == after  # as many draws of each kind
        distance = unlike(varied, expected)
        assert distance.mean() < 0.5
        # A pixel between two others may be taken from either by the filter that takes the nearest.
        assert distance.quantile(0.9 if filter == "nearest" else 0.999) < 4


def test_means_and_deviations_of_many_images_are_those_of_files():
    transform = training_transform(INPUT, AugmentationSpec())
    render = renderer_for(transform, NORMALIZATION)
    from_files, from_cache = [], []
    for seed, size in enumerate(sizes(100)):
        image = photograph(size, seed=seed)
        with drawing(seed):
            from_files.append(transform(image))
        with drawing(1000 + seed):  # other draws of the same distribution
            from_cache.append(NORMALIZATION(rendered(render, as_cached(image))[None])[0])
    one, other = torch.stack(from_files), torch.stack(from_cache)
    assert abs(one.mean() - other.mean()) < 0.1
    assert abs(one.std() / other.std() - 1) < 0.1


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "augmix-m3-w3", "original", "trivial"])
@pytest.mark.parametrize("reprob", [0.0, 0.7])
def test_policies_give_the_very_same_image(policy, reprob):
    transform = training_transform(INPUT, AugmentationSpec(aa=policy, reprob=reprob))
    render = renderer_for(transform, NORMALIZATION)
    assert isinstance(render, PillowRenderer)
    for seed, size in zip(range(12), sizes(12), strict=True):
        image = photograph(size, seed=seed)
        with drawing(seed):
            expected = transform(image)
        with drawing(seed):
            varied = rendered(render, as_cached(image))
        assert torch.equal(NORMALIZATION(varied[None])[0], expected)


def test_filters_that_torch_lacks_are_pillows():
    augmentation = AugmentationSpec(train_interpolation="lanczos")
    transform = training_transform(INPUT, augmentation)
    image = photograph((90, 60))
    with drawing(3):
        expected = transform(image)
    with drawing(3):
        varied = rendered(renderer_for(transform, NORMALIZATION), as_cached(image))
    assert torch.equal(NORMALIZATION(varied[None])[0], expected)


@pytest.mark.parametrize("aa", [None, "rand-m5"])
def test_gray_images_are_varied_in_one_channel(aa):
    gray = InputSpec(channels=1, size=(32, 40), mean=(0.4,), std=(0.2,))
    transform = training_transform(gray, EVERYTHING.model_copy(update={"aa": aa}))
    normalization = Normalization((0.4,), (0.2,))
    render = renderer_for(transform, normalization)
    for seed in SEEDS:
        image = photograph((90, 60), seed=seed).convert("L").convert("RGB")
        with drawing(seed):
            expected = transform(image)
        with drawing(seed):
            varied = rendered(render, as_cached(image)[..., :1])
        assert varied.shape == expected.shape == (1, 32, 40)
        assert ((varied - expected).abs() * 255 * 0.2).mean() < 0.5


def test_images_that_were_shrunk_are_cropped_where_they_were_to_be():
    """The box is drawn in the image of the file, and found again in the smaller one."""
    transform = training_transform(INPUT, AugmentationSpec(color_jitter=0, scale=(0.5, 1)))
    render = renderer_for(transform, NORMALIZATION)
    distances = []
    for seed in SEEDS:
        image = photograph((300, 200), seed=seed)
        with drawing(seed):
            expected = transform(image)
        small = as_cached(image.resize((150, 100), Image.Resampling.LANCZOS))
        with drawing(seed):
            varied = rendered(render, small, (200, 300))
        distances.append(unlike(NORMALIZATION(varied[None])[0], expected).mean())
    assert sum(distances) / len(distances) < 3  # a shift by less than a pixel
    assert max(distances) < 8


def test_boxes_stay_within_stored_images_of_any_size():
    generator = np.random.default_rng(0)
    for _ in range(500):
        space = generator.integers(1, 3000, 2)
        stored = np.maximum(1, np.round(space * generator.uniform(0.001, 1))).astype(int)
        height, width = (int(generator.integers(1, extent + 1)) for extent in space)
        top = int(generator.integers(0, space[0] - height + 1))
        left = int(generator.integers(0, space[1] - width + 1))
        crop = Crop((top, left, height, width), "bilinear")
        top, left, height, width = crop.box_in(tuple(stored.tolist()), tuple(space.tolist()))
        assert 0 <= top < top + height <= stored[0]
        assert 0 <= left < left + width <= stored[1]


@pytest.mark.parametrize(
    ("position", "name"), list(enumerate(("brightness", "contrast", "saturation")))
)
def test_colors_change_as_pillow_changes_them(position, name):
    change = ColorChanges(3, (20, 30))
    for seed, factor in enumerate((0.0, 0.6, 0.9, 1.0, 1.3, 1.9)):
        image = Image.fromarray(
            np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        )
        settings = [0.0, 0.0, 0.0]
        settings[position] = (factor, factor)
        expected = as_cached(ColorJitter(*settings)(image)).permute(2, 0, 1).int()
        changed = torch.empty((3, 20, 30), dtype=torch.uint8)
        change(as_cached(image).permute(2, 0, 1), [(name, factor)], out=changed)
        distance = (changed.int() - expected).abs()
        assert distance.max() <= 1
        assert distance.float().mean() < 0.1
