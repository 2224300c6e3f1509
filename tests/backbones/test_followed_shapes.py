"""Of large images the shapes are followed: the same places are found, in no time."""

import pytest

from covtool.backbones import tracing
from covtool.backbones.convolutions import find_convolutions
from covtool.backbones.create import create_model
from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError
from covtool.specs import BaseSpec

MODELS = {
    "test_resnet": 96,
    "test_vit": 160,
    "test_efficientnet": 96,
    "test_convnext": 96,
}


@pytest.mark.parametrize(("name", "side"), MODELS.items())
def test_following_shapes_finds_what_running_the_model_finds(name, side, monkeypatch):
    model = create_model(BaseSpec(library="timm", name=name), num_classes=5)
    ran = [find(model, (side, side), 3) for find in (find_sites, find_convolutions)]
    monkeypatch.setattr(tracing, "LARGEST_COMPUTED", 0)
    assert [find(model, (side, side), 3) for find in (find_sites, find_convolutions)] == ran


def test_images_of_4096_pixels_are_not_computed(monkeypatch):
    model = create_model(BaseSpec(library="timm", name="test_resnet"), num_classes=5)
    monkeypatch.setattr(model.layer4, "forward", lambda images: images)
    devices = []
    model.conv1.register_forward_hook(lambda module, given, output: devices.append(output.device))
    with pytest.raises(SurgeryError):
        find_sites(model, (4096, 4096))
    assert {device.type for device in devices} == {"meta"}
