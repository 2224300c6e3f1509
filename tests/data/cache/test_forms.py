"""What is kept of an image is enough for every crop of it, and no more."""

import math

import numpy as np
import pytest
from images import photograph

from covtool.data.cache import evaluation_form, training_form
from covtool.data.cache.forms import PreparedForm, ShrunkForm, SquashedForm
from covtool.data.transforms.from_timm import Squash, evaluation_transform
from covtool.specs import AugmentationSpec, InputSpec

SIZES = [(640, 480), (480, 640), (5000, 3000), (300, 200), (100, 90), (4000, 200), (31, 1000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.08, 0.35, 1.0])
@pytest.mark.parametrize("crop", [(224, 224), (96, 160)])
def test_the_smallest_crop_has_the_pixels_of_the_networks_images(size, share, crop):
    kept = ShrunkForm(crop=crop, least_share=share).size(size)
    assert kept[0] <= size[0]
    assert kept[1] <= size[1]
    if kept == size:
        return
    slack = 1 + 2 / min(kept)  # of rounding to whole pixels
    assert share * math.prod(kept) * slack >= math.prod(crop)
    assert min(kept) >= max(crop) - 1
    assert kept[0] / kept[1] == pytest.approx(size[0] / size[1], rel=1 / min(kept))
    smaller = share * math.prod(kept) <= math.prod(crop) * slack
    assert smaller or min(kept) == max(crop)  # one of the two decides


def test_images_are_never_enlarged():
    form = ShrunkForm(crop=(224, 224), least_share=0.35)
    assert form.size((60, 40)) == (60, 40)
    assert form.pixels(photograph((60, 40))).shape == (40, 60, 3)


def test_a_given_side_takes_the_place_of_the_rule():
    form = ShrunkForm(crop=(224, 224), least_share=0.35, side=100)
    assert form.size((400, 200)) == (200, 100)
    assert form.size((90, 400)) == (90, 400)


def test_pixels_have_the_size_that_was_promised():
    input = InputSpec(size=(32, 48), crop_pct=0.8, crop_mode="squash")
    for form in (
        ShrunkForm(crop=(32, 48), least_share=0.5),
        SquashedForm(input),
        PreparedForm(input),
    ):
        for size in ((200, 100), (90, 91), (40, 20)):
            width, height = form.size(size)
            assert form.pixels(photograph(size)).shape == (height, width, 3)


def test_squashed_images_are_those_that_crops_are_drawn_in():
    input = InputSpec(size=(32, 48), crop_pct=0.8, crop_mode="squash")
    form, image = SquashedForm(input), photograph((100, 80))
    assert form.space((100, 80)) == form.size((100, 80)) == (60, 40)
    assert np.array_equal(form.pixels(image), np.asarray(Squash(input)(image)))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_prepared_images_are_those_of_the_evaluation_before_they_are_normalized(mode):
    input = InputSpec(size=(24, 20), mean=(0.0,), std=(1.0,), crop_mode=mode, crop_pct=0.9)
    image = photograph((70, 50))
    expected = evaluation_transform(input)(image).permute(1, 2, 0).numpy() * 255
    assert np.array_equal(evaluation_form(input).pixels(image), expected.round())


def test_the_form_follows_from_how_images_are_prepared():
    plain, squash = InputSpec(), InputSpec(crop_mode="squash")
    assert training_form(plain, AugmentationSpec(scale=(0.2, 1))).least_share == 0.2
    assert isinstance(training_form(squash, AugmentationSpec()), SquashedForm)
    assert isinstance(training_form(plain, AugmentationSpec(aug=False)), PreparedForm)


def test_settings_tell_forms_apart():
    forms = [
        ShrunkForm(crop=(224, 224), least_share=0.35),
        ShrunkForm(crop=(192, 224), least_share=0.35),
        ShrunkForm(crop=(224, 224), least_share=0.08),
        ShrunkForm(crop=(224, 224), least_share=0.35, side=256),
        SquashedForm(InputSpec()),
        SquashedForm(InputSpec(interpolation="bicubic")),
        *(
            PreparedForm(InputSpec(**changed))
            for changed in ({}, {"crop_pct": 1.0}, {"mean": (0.5,)})
        ),
    ]
    settings = [str(form.settings()) for form in forms]
    assert len(set(settings)) == len(settings)
