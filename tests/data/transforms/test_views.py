"""Five crops of an image: the center is evaluation's own, the corners lie around it."""

import pytest
import torch
from images import photograph

from covtool.data.transforms.from_timm import evaluation_pixels
from covtool.data.transforms.views import five_crop_pixels
from covtool.errors import ArgumentError
from covtool.specs import InputSpec

INPUTS = {
    "square": InputSpec(size=(32, 32)),
    "tall": InputSpec(size=(64, 32), crop_pct=0.8),
    "squash": InputSpec(size=(32, 48), crop_mode="squash"),
    "gray": InputSpec(size=(32, 32), channels=1, mean=(0.5,), std=(0.2,)),
    "whole": InputSpec(size=(32, 32), crop_pct=1.0),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("size", [(70, 50), (31, 90), (32, 32)])
def test_the_last_crop_is_that_of_an_evaluation(name, size):
    images, picture = INPUTS[name], photograph(size)
    crops = five_crop_pixels(images)(picture)
    assert crops.shape == (5, images.channels, *images.size)
    assert crops.dtype == torch.uint8
    assert torch.equal(crops[4], evaluation_pixels(images)(picture))


def test_corners_are_the_corners_of_the_resized_image():
    images = InputSpec(size=(32, 32), crop_pct=0.5)
    crops = five_crop_pixels(images)(photograph((64, 64)))
    whole = evaluation_pixels(InputSpec(size=(64, 64), crop_pct=1.0))(photograph((64, 64)))
    corners = [whole[:, y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
    assert torch.equal(crops[:4], torch.stack(corners))


@pytest.mark.parametrize(
    "changes",
    [{"crop_mode": "border"}, {"crop_mode": "squash", "crop_pct": 1.0}, {"crop_pct": 1.1}],
)
def test_a_crop_of_the_whole_image_has_no_corners(changes):
    with pytest.raises(ArgumentError, match="no five crops"):
        five_crop_pixels(InputSpec(size=(32, 32), **changes))
