"""Input channels of networks in which not only the first convolution sees the image."""

from pathlib import Path

import pytest
import timm
import torch

from covtool.backbones.architectures import load_index
from covtool.checkpoints.bodies import find_bodies
from covtool.checkpoints.matching import Candidate, Named, relevant_tensors
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.order_matching import match_order

SEVERAL = ("crossvit_tiny_240", "crossvit_9_dagger_240", "fastvit_t8", "mobileone_s0", "repvgg_a0")
FOLDED = ("tresnet_m", "naflexvit_base_patch16_gap")
"""Pixels become channels before the first layer, so that it has a multiple of the image's."""


def by_names(tensors: Named) -> list[Candidate]:
    bodies = find_bodies(load_index(), tensors, ordered=True)
    return [candidate for body in bodies for candidate in body.candidates]


def shapes(name: str, channels: int) -> tuple:
    with torch.device("meta"):
        model = timm.create_model(name, in_chans=channels, num_classes=7)
    return relevant_tensors(model.state_dict())


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "name",
    [*SEVERAL, *FOLDED, "dpn92", "test_resnet"],
)
def test_network_for_other_channels_is_recognized_by_name_and_by_order(
    name: str, channels: int
) -> None:
    tensors = shapes(name, channels)
    renamed = tuple((f"net.{number}.{n}", shape) for number, (n, shape) in enumerate(tensors))
    for found in (by_names(tensors), match_order(load_index(), renamed)):
        told = {(c.architecture.name, c.in_channels) for c in found}
        assert (name, channels) in told


@pytest.mark.parametrize("name", [*SEVERAL, "dpn92"])
def test_network_for_three_channels_still_is(name: str) -> None:
    found = by_names(shapes(name, 3))
    assert (name, 3) in {(c.architecture.name, c.in_channels) for c in found}


@pytest.mark.parametrize("name", SEVERAL)
def test_convolutions_that_disagree_about_the_image_fit_nothing(name: str) -> None:
    tensors = list(shapes(name, 1))
    first = next(i for i, (_, shape) in enumerate(tensors) if len(shape) == 4 and shape[1] == 1)
    tensors[first] = (tensors[first][0], (tensors[first][1][0], 5, *tensors[first][1][2:]))
    assert not by_names(tuple(tensors))


@pytest.mark.parametrize("arch", [None, "mobileone_s0"])
def test_file_of_a_network_for_gray_images_opens_with_equal_logits(
    arch: str | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = timm.create_model("mobileone_s0", in_chans=1, num_classes=7).eval()
    torch.save(model.state_dict(), tmp_path / "gray.pth")
    opened = open_model(tmp_path / "gray.pth", arch=arch)
    assert opened.recipe.input.channels == 1
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(opened.model(images), model(images))
