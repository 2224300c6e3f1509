"""Neck, half instance norms, stem and overlapping patches: what re-identification changes."""

import pytest
import torch
from tolerances import EXACT, FLOAT32
from torch import nn
from torch.testing import assert_close

from covtool.backbones.create import create_model
from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError
from covtool.specs import (
    BaseSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
    NeckSpec,
    Operation,
    PatchStrideSpec,
    Provenance,
    Recipe,
    StemSpec,
)
from covtool.surgery.rebuild import operate, rebuild

IMAGES = InputSpec(size=(64, 32))
CLASSES = 3
OPERATIONS = {
    "neck": (NeckSpec(),),
    "neck with a linear layer": (
        NeckSpec(layers=("linear", "batchnorm", "relu"), features=8, classifier_bias=True),
    ),
    "neck of nothing": (NeckSpec(layers=()),),
    "generalized mean and neck": (HeadSpec(head="gem", reduction="none"), NeckSpec()),
    "half instance norms": (InstanceBatchNormSpec(),),
    "half instance norms, named": (InstanceBatchNormSpec(layers=("layer2.0.bn1",)),),
    "stem": (StemSpec(activation="none", max_pooling="unpadded"),),
    "all": (InstanceBatchNormSpec(), StemSpec(max_pooling="unpadded"), NeckSpec()),
}


def plain() -> nn.Module:
    torch.manual_seed(0)
    return create_model(BaseSpec(library="timm", name="resnet18"), num_classes=CLASSES)


def vit() -> nn.Module:
    torch.manual_seed(0)
    base = BaseSpec(library="timm", name="test_vit", arguments={"img_size": [64, 32]})
    return create_model(base, num_classes=CLASSES)


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, *IMAGES.size, generator=torch.Generator().manual_seed(0))


def operated(model: nn.Module, *operations: Operation) -> nn.Module:
    for operation in operations:
        model = operate(model, operation, IMAGES, num_classes=CLASSES)
    return model.eval()


@pytest.mark.parametrize("name", OPERATIONS)
def test_recipe_is_rebuilt_with_every_tensor(name: str) -> None:
    model = operated(plain(), *OPERATIONS[name])
    recipe = Recipe(
        base=BaseSpec(library="timm", name="resnet18"),
        operations=OPERATIONS[name],
        num_classes=CLASSES,
        input=IMAGES,
        provenance=Provenance(covtool_version="0"),
    )
    again = rebuild(Recipe.model_validate_json(recipe.model_dump_json()))
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert_close(again(images()), model(images()), **EXACT)


@pytest.mark.parametrize("name", OPERATIONS)
def test_original_is_not_changed(name: str) -> None:
    model = plain()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    operated(model, *OPERATIONS[name])
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_fresh_batch_norm_scales_the_pooled_features_alone() -> None:
    model = operated(plain(), NeckSpec())
    with torch.no_grad():
        maps = model.forward_features(images())
        feature = model.forward_head(maps, pre_logits=True)
    assert_close(feature, maps.mean((2, 3)) / (1 + 1e-5) ** 0.5, **FLOAT32)
    assert model.fc.bias is None


def test_neck_is_a_place_to_operate_on() -> None:
    model = operated(plain(), NeckSpec(layers=("linear", "batchnorm"), features=8))
    sites = find_sites(model, IMAGES.size)
    assert (sites.pooling, sites.classifier) == ("global_pool", "fc")
    assert (sites.in_features, sites.default_tap.channels) == (8, 512)
    assert model.head_hidden_size == 8


def test_another_head_replaces_the_neck() -> None:
    model = operated(plain(), NeckSpec(), HeadSpec(head="isqrt", dim=8))
    assert not any("neck" in name for name in model.state_dict())
    assert model(images()).shape == (2, CLASSES)


def test_eigenlayer_follows_a_neck() -> None:
    model = operated(plain(), NeckSpec(), EigenlayerSpec(features=4))
    with torch.no_grad():
        assert model(images()).shape == (2, CLASSES)
    assert model.fc.classifier.bias is None


def test_half_instance_norms_keep_scales_shifts_and_statistics() -> None:
    model = plain()
    norm = model.layer1[0].bn1
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    half = operated(model, InstanceBatchNormSpec()).layer1[0].bn1
    assert_close(torch.cat([half.IN.weight, half.BN.weight]), norm.weight, **EXACT)
    assert_close(torch.cat([half.IN.bias, half.BN.bias]), norm.bias, **EXACT)
    maps = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_close(half(maps)[:, 32:], norm(maps)[:, 32:], **FLOAT32)
        whitened = half(maps)[:, :32] - half.IN.bias[:, None, None]
    assert_close(whitened.mean((2, 3)), torch.zeros(2, 32), rtol=0, atol=1e-5)


def test_ibn_leaves_the_last_stage_alone() -> None:
    halved = {n for n in operated(plain(), InstanceBatchNormSpec()).state_dict() if ".IN." in n}
    assert {name.partition(".")[0] for name in halved} == {"layer1", "layer2", "layer3"}


def test_stem_is_changed_as_asked() -> None:
    model = plain()
    without = operated(model, StemSpec(activation="none"))
    unpadded = operated(model, StemSpec(max_pooling="unpadded"))
    with torch.no_grad():
        stem = model.bn1(model.conv1(images()))
        own = nn.functional.max_pool2d(stem.relu(), 3, stride=2, ceil_mode=True)
        assert_close(
            without.forward_features(images()), stages(model, model.maxpool(stem)), **EXACT
        )
        assert_close(unpadded.forward_features(images()), stages(model, own), **EXACT)


def stages(model: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    return model.layer4(model.layer3(model.layer2(model.layer1(maps))))


def test_patches_overlap_and_positions_are_resampled() -> None:
    model = vit()
    other = operated(model, PatchStrideSpec(stride=8))
    assert other.patch_embed.grid_size == (7, 3)
    assert other.pos_embed.shape[1] == 7 * 3 + model.num_prefix_tokens
    assert other(images()).shape == (2, CLASSES)
    same = operated(model, PatchStrideSpec(stride=16))
    with torch.no_grad():
        assert_close(same(images()), model(images()), **FLOAT32)


REFUSED = {
    "second neck": (plain, (NeckSpec(), NeckSpec()), "neck already"),
    "neck behind an Eigenlayer": (plain, (EigenlayerSpec(features=4), NeckSpec()), "Eigenlayer"),
    "linear layer of no length": (plain, (NeckSpec(layers=("linear",)),), "number of its features"),
    "length of no linear layer": (plain, (NeckSpec(features=8),), "number of its features"),
    "norm that is none": (plain, (InstanceBatchNormSpec(layers=("conv1",)),), "no batch norm"),
    "half instance norms twice": (
        plain,
        (InstanceBatchNormSpec(), InstanceBatchNormSpec()),
        "half an instance norm already",
    ),
    "half instance norms of a transformer": (vit, (InstanceBatchNormSpec(),), "no blocks"),
    "stem of a transformer": (vit, (StemSpec(activation="none"),), "does not begin"),
    "patches of a convolutional network": (plain, (PatchStrideSpec(stride=12),), "not a vision"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operation_that_has_no_place_is_refused(name: str) -> None:
    build, operations, word = REFUSED[name]
    with pytest.raises(SurgeryError, match=word):
        operated(build(), *operations)


def test_gradients_reach_the_new_layers() -> None:
    model = operated(plain(), *OPERATIONS["all"]).train()
    model(images(4)).square().sum().backward()
    new = [p for n, p in model.named_parameters() if "neck" in n or n.startswith("fc.")]
    assert all(p.grad is not None for p in model.parameters())
    assert len(new) == 3
    assert all(p.grad.abs().sum() > 0 for p in new)
