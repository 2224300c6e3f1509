"""Axes of feature maps are told apart on images that are no squares."""

import pytest

from covtool.backbones.create import create_model
from covtool.backbones.sites import find_sites
from covtool.specs import BaseSpec

SMALL = {"embed_dim": 12, "depths": [1, 1], "num_heads": [1, 1], "window_size": 2}


@pytest.mark.parametrize("size", [(256, 128), (128, 256), (384, 128), (224, 224), (200, 120)])
def test_channels_of_a_resnet_come_first(size: tuple[int, int]) -> None:
    model = create_model(BaseSpec(library="timm", name="resnet18"), num_classes=3)
    trunk = find_sites(model, size).trunk
    stages = {m.path: m for m in trunk if m.path.startswith("layer")}
    assert {m.layout for m in trunk} == {"NCHW"}
    assert [stages[f"layer{n}.1"].channels for n in (1, 2, 3, 4)] == [64, 128, 256, 512]


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (48, 48)])
def test_channels_of_a_swin_transformer_come_last(size: tuple[int, int]) -> None:
    arguments = {**SMALL, "img_size": list(size)}
    base = BaseSpec(library="timm", name="swin_tiny_patch4_window7_224", arguments=arguments)
    last = find_sites(create_model(base, num_classes=3), size).default_tap
    assert (last.layout, last.channels) == ("NHWC", 24)
    assert last.positions == size[0] * size[1] // 64
