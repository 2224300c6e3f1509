import pytest
import timm
from timm.models import _registry
from torchvision import models

from covtool.backbones.create import parse_name
from covtool.backbones.published_names import (
    current_name,
    named_architecture,
    published_weights,
)

IMAGENET = (0.485, 0.456, 0.406)
HALF = (0.5, 0.5, 0.5)

# Published: the crop of torchvision's second weights is 224 of 232 pixels.
PUBLISHED = [
    ("resnet50-0676ba61.pth", "resnet50.tv_in1k", IMAGENET, 224 / 256, "bilinear"),
    ("resnet50-11ad3fa6.pth", "resnet50.tv2_in1k", IMAGENET, 224 / 232, "bilinear"),
    ("resnet50_a1_0-14fe96d1.pth", "resnet50.a1_in1k", IMAGENET, 0.95, "bicubic"),
    ("vit_small_patch16_224.dino.pth", "vit_small_patch16_224.dino", IMAGENET, 0.9, "bicubic"),
    ("dino_deitsmall16_pretrain.pth", "vit_small_patch16_224.dino", IMAGENET, 0.9, "bicubic"),
    (
        "tf_efficientnet_b0_ap-f262efe1.pth",
        "tf_efficientnet_b0.ap_in1k",
        HALF,
        0.875,
        "bicubic",
    ),
    (
        "efficientnet_b0_rwightman-7f5810bc.pth",
        "torchvision:efficientnet_b0",
        IMAGENET,
        0.875,
        None,
    ),
]


@pytest.mark.parametrize(("file", "name", "mean", "crop", "resampling"), PUBLISHED)
def test_a_published_file_name_tells_architecture_and_images(file, name, mean, crop, resampling):
    found = published_weights(file)
    assert found.is_exact
    assert found.names[0] == name
    assert found.input.mean == mean
    assert found.input.crop_pct == pytest.approx(crop)
    assert resampling in (None, found.input.interpolation)


@pytest.mark.parametrize(
    "copy",
    [
        "resnet50-0676ba61 (1).pth",
        "resnet50-0676ba61_renamed.pth",
        "Copy of resnet50-0676ba61.pth",
        "my-body-0676ba61.safetensors",
        "birds_resnet50.tv_in1k.bin",
        "models--timm--resnet50.tv_in1k",
        "timm_resnet50.tv_in1k",
    ],
)
def test_a_copy_under_a_longer_name_is_still_known(copy):
    found = published_weights(copy)
    assert not found.is_exact
    assert found.names[0] == "resnet50.tv_in1k"
    assert found.input.crop_pct == 0.875


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "model_best.pth.tar", "best_resnet50.pth"]
)
def test_a_name_that_nobody_published_tells_no_images(name):
    assert published_weights(name) is None


def test_an_architecture_in_a_name_is_found_where_no_weights_are():
    assert named_architecture("best_resnet50_birds.pth") == "resnet50"
    assert named_architecture("mobilenet_v2_birds.pth") == "torchvision:mobilenet_v2"
    assert named_architecture("epoch_12.pth") is None


def test_every_old_spelling_leads_to_a_name_of_today():
    assert current_name("tf_efficientnet_b0_ns") == "tf_efficientnet_b0.ns_jft_in1k"
    for old in _registry._deprecated_models:
        base, _ = parse_name(current_name(old))
        assert base.name not in _registry._deprecated_models


def test_every_file_of_both_registries_is_recognized():
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            found = published_weights(weights.url.rpartition("/")[2])
            assert f"torchvision:{name}" in found.names
            assert found.input.size[0] == weights.transforms().crop_size[0]
    for name in timm.list_pretrained():
        config = timm.models.get_pretrained_cfg(name)
        found = published_weights(name)
        assert found.names[0] == name
        assert (*found.input.mean, *found.input.std) == (*config.mean, *config.std)
