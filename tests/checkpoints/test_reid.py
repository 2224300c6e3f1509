"""Networks of re-identification code bases are rebuilt, features and logits equal."""

from pathlib import Path

import pytest
import timm
import torch
from reid_networks import (
    IDENTITIES,
    NETWORKS,
    Published,
    cluster_contrast,
    fast_reid,
    generator,
    ibn_net,
    layumi,
    strong_baseline,
    svdnet,
    torchreid,
)
from tolerances import FLOAT32_CHAIN
from torch.testing import assert_close

from covtool.checkpoints.foreign import read_checkpoint
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import load, save
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.reid import open_reid
from covtool.errors import CheckpointError
from covtool.evaluation.features.extractor import embeddings, find_feature_layer
from covtool.specs import FeatureSpec


def write(published: Published, path: Path) -> Path:
    torch.save({"state_dict": dict(published.state), **published.beside}, path)
    return path


def images_of(published: Published, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, *published.size, generator=generator())


def described(opened: OpenedModel, images: torch.Tensor, feature: str = "embedding"):
    spec = FeatureSpec(feature=feature)
    layer = find_feature_layer(opened.model, opened.recipe.input, spec)
    return next(embeddings(opened.model, [images], layer))


def operations(opened: OpenedModel) -> list[str]:
    return [operation.operation for operation in opened.recipe.operations]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_logits_and_size_are_those_of_the_code_base(name: str, tmp_path: Path) -> None:
    published = NETWORKS[name]()
    opened = open_model(write(published, tmp_path / "model.pth"))
    images = images_of(published)
    assert opened.recipe.input.size == published.size
    assert opened.recipe.num_classes == IDENTITIES
    with torch.no_grad():
        pooled = published.pooled(images)
        features = published.describe(pooled)
        assert_close(opened.model(images), published.classify(features), **FLOAT32_CHAIN)
    assert_close(described(opened, images), features, **FLOAT32_CHAIN)
    assert_close(described(opened, images, "pooled"), pooled, **FLOAT32_CHAIN)
    check_that_it_reopens_equal(opened, tmp_path)


def check_that_it_reopens_equal(opened: OpenedModel, tmp_path: Path) -> None:
    again = load(save(opened.model, tmp_path / "model.safetensors"))
    assert again.recipe == opened.recipe
    own, reopened = opened.model.state_dict(), again.state_dict()
    assert list(own) == list(reopened)
    assert all(torch.equal(own[name], reopened[name]) for name in own)


def test_pre_logits_of_timm_are_the_feature_behind_the_neck(tmp_path: Path) -> None:
    published = fast_reid(power=2.5)
    model = open_model(write(published, tmp_path / "model.pth")).model
    images = images_of(published)
    with torch.no_grad():
        found = model.forward_head(model.forward_features(images), pre_logits=True)
    assert_close(found, published.features(images), **FLOAT32_CHAIN)


def test_inspection_shows_the_network_and_what_is_not_used(tmp_path: Path) -> None:
    path = write(layumi(), tmp_path / "net_last.pth")
    inspection, identification = inspect_source(str(path))
    assert identification is None
    assert inspection.recipe.base.name == "resnet18"
    assert inspection.num_classes == IDENTITIES
    assert inspection.ignored == ("model.fc.{weight,bias}",)
    assert any("layumi" in note for note in inspection.notes)


def test_no_tensor_of_fast_reid_is_left_over(tmp_path: Path) -> None:
    opened = open_model(write(fast_reid(), tmp_path / "model.pth"))
    assert opened.checkpoint.ignored == ()
    assert opened.recipe.input.mean == (0.485, 0.456, 0.406)
    assert opened.recipe.input.crop_mode == "squash"
    assert opened.recipe.input.interpolation == "bicubic"


def test_mean_of_fast_reid_is_read_from_the_file(tmp_path: Path) -> None:
    published = fast_reid()
    published.state["pixel_mean"] = torch.full((1, 3, 1, 1), 127.5)
    opened = open_model(write(published, tmp_path / "model.pth"))
    assert opened.recipe.input.mean == (0.5, 0.5, 0.5)


SIZES = {
    "market_bot_R18.pth": (256, 128),
    "market_sbs_R18.pth": (384, 128),
    "veri_sbs_R18.pth": (256, 256),
    "vehicleid_bot_R18.pth": (256, 256),
}


@pytest.mark.parametrize("name", SIZES)
def test_name_of_a_fast_reid_file_tells_the_size_of_its_images(name: str, tmp_path: Path) -> None:
    opened = open_model(write(fast_reid(), tmp_path / name))
    assert opened.recipe.input.size == SIZES[name]


CONFIG = """
MODEL:
  BACKBONE: {LAST_STRIDE: 2}
  HEADS: {POOL_LAYER: GeneralizedMeanPooling, CLS_LAYER: CircleSoftmax}
INPUT: {SIZE_TEST: [128, 64]}
SOLVER: {MAX_EPOCH: 60}
"""


def test_config_beside_a_fast_reid_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    opened = open_model(write(fast_reid(), tmp_path / "model_final.pth"))
    assert operations(opened) == ["stem", "head", "neck"]
    assert opened.recipe.input.size == (128, 64)
    assert opened.model.global_pool.pooling.power.tolist() == [3]
    assert any("config.yaml says" in note for note in opened.notes)
    assert any("CircleSoftmax" in note for note in opened.notes)


@pytest.mark.parametrize("content", ["- 1", "MODEL: 3", "a: b: c", "{}", "[" * 3000])
def test_other_yaml_beside_a_fast_reid_file_changes_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(content)
    opened = open_model(write(fast_reid(), tmp_path / "model_final.pth"))
    assert operations(opened) == ["last-stride", "neck"]


@pytest.mark.parametrize("stride", [1, 2])
def test_options_beside_a_layumi_file_tell_the_stride(stride: int, tmp_path: Path) -> None:
    (tmp_path / "opts.yaml").write_text(f"stride: {stride}\n")
    opened = open_model(write(layumi(), tmp_path / "net_last.pth"))
    assert ("last-stride" in operations(opened)) == (stride == 1)
    assert any(f"opts.yaml says: last stride {stride}" in note for note in opened.notes)


def test_strong_baseline_without_a_neck_is_told_by_its_identities(tmp_path: Path) -> None:
    published = strong_baseline(neck=False, identities=751)
    opened = open_model(write(published, tmp_path / "model.pth"))
    images = images_of(published)
    assert operations(opened) == ["last-stride"]
    with torch.no_grad():
        assert_close(opened.model(images), published.logits(images), **FLOAT32_CHAIN)


RELU = {
    "recorded with it": ({"recorded": True}, False, "not tell"),
    "recorded without it": ({"recorded": True, "relu": False}, True, "left out"),
    "never recorded": ({}, False, "do not tell"),
}


@pytest.mark.parametrize("name", RELU)
def test_statistics_tell_whether_the_first_relu_was_there(name: str, tmp_path: Path) -> None:
    network, lacks, word = RELU[name]
    opened = open_model(write(strong_baseline(**network), tmp_path / "model.pth"))
    assert ("stem" in operations(opened)) == lacks
    told = [note for note in opened.notes if "first ReLU" in note]
    assert len(told) == (name != "recorded with it")
    assert all(word in note for note in told)


def test_layers_that_spcl_counts_tell_whether_the_first_relu_is_there(tmp_path: Path) -> None:
    with_it = open_model(write(cluster_contrast(), tmp_path / "a.pth"))
    without = open_model(write(cluster_contrast(relu=False), tmp_path / "b.pth"))
    assert ["stem" in operations(opened) for opened in (with_it, without)] == [False, True]


def test_file_without_a_classifier_says_that_its_own_is_random(tmp_path: Path) -> None:
    published = strong_baseline()
    bare = {n: t for n, t in published.state.items() if not n.startswith("classifier.")}
    torch.save(bare, tmp_path / "bare.pth")
    opened = open_model(tmp_path / "bare.pth")
    images = images_of(published)
    assert any("at random" in note for note in opened.notes)
    assert not open_reid(read_checkpoint(tmp_path / "bare.pth")).has_classifier
    assert_close(described(opened, images), published.features(images), **FLOAT32_CHAIN)


WRAPPERS = ("", "module.", "_orig_mod.", "model.", "reid_net.", "module.model.")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_any_wrapper_is_taken_off(wrapper: str, tmp_path: Path) -> None:
    state = {f"{wrapper}{n}": t for n, t in layumi().state.items()}
    torch.save(state | {"criterion.centers": torch.zeros(5, 512)}, tmp_path / "net.pth")
    opened = open_model(tmp_path / "net.pth")
    assert opened.recipe.num_classes == IDENTITIES
    assert "criterion.centers" in opened.checkpoint.ignored


def test_arch_chooses_among_architectures_of_equal_tensors(tmp_path: Path) -> None:
    path = write(fast_reid(), tmp_path / "model.pth")
    opened = open_model(path, arch="torchvision:resnet18")
    assert opened.recipe.base.library == "torchvision"
    assert operations(opened) == ["last-stride", "neck"]
    with pytest.raises(CheckpointError, match="resnetblur18") as caught:
        open_model(path, arch="resnetblur18")
    assert "BlurPool2d" in caught.value.reason


def test_resnest_of_fast_reid_keeps_its_stem(tmp_path: Path) -> None:
    state = timm.create_model("resnest14d", num_classes=0).state_dict()
    state = {f"backbone.{name}": tensor for name, tensor in state.items()}
    heads = {n: t for n, t in fast_reid(power=3.0).state.items() if n.startswith("heads.p")}
    heads["heads.weight"] = torch.zeros(IDENTITIES, 2048)
    torch.save({"model": state | heads, "epoch": 9}, tmp_path / "mot17_sbs_S14.pth")
    opened = open_model(tmp_path / "mot17_sbs_S14.pth")
    assert opened.recipe.base.name == "resnest14d"
    assert operations(opened) == ["last-stride", "head", "neck"]
    assert opened.recipe.input.size == (384, 128)
    assert not any("stem" in note for note in opened.notes)


PEOPLE = {
    "data set in the name": ("resnet18_market1501.pth", IDENTITIES, (256, 128)),
    "identities of a data set": ("model.pth", 751, (256, 128)),
    "neither": ("model.pth", IDENTITIES, (224, 224)),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_torchreid_is_told_from_a_plain_network(name: str, tmp_path: Path) -> None:
    file, identities, size = PEOPLE[name]
    state = dict(torchreid().state) | {"classifier.weight": torch.ones(identities, 512)}
    torch.save(state | {"classifier.bias": torch.zeros(identities)}, tmp_path / file)
    opened = open_model(tmp_path / file)
    assert opened.recipe.input.size == size
    assert operations(opened) == []


def test_svdnet_keeps_its_eigenlayer(tmp_path: Path) -> None:
    published = svdnet()
    opened = open_model(write(published, tmp_path / "model.pth"))
    assert operations(opened) == ["last-stride", "eigenlayer"]
    assert torch.equal(opened.model.fc.eigenlayer.weight, published.state["fc.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
@pytest.mark.parametrize(
    "network",
    [
        lambda name: fast_reid(name=name),
        lambda name: fast_reid(name=name, ibn=True, power=3.0),
        lambda name: strong_baseline(name=name),
        lambda name: strong_baseline(name=name, ibn=True),
        ibn_net,
    ],
)
def test_every_resnet_is_rebuilt(network, name: str, tmp_path: Path) -> None:
    published = network(name)
    opened = open_model(write(published, tmp_path / "model.pth"))
    images = images_of(published, count=1)
    assert opened.recipe.base.name == name
    assert_close(described(opened, images), published.features(images), rtol=1e-3, atol=1e-4)
