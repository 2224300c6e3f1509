"""Re-identification networks that cannot be rebuilt are refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reid_networks import cluster_contrast, fast_reid, layumi, resnet, strong_baseline, torchreid
from torch import Tensor

from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.reid import open_reid
from covtool.checkpoints.reid.code_bases import NOT_REBUILT
from covtool.errors import UnrecognizedCheckpointError

State = dict[str, Tensor]


def with_names(state: Callable[[], State], *names: str) -> Callable[[], State]:
    return lambda: state() | {name: torch.ones(4, 4) for name in names}


def of(network: Callable) -> Callable[[], State]:
    return lambda: dict(network().state)


def pcb() -> State:
    state = dict(layumi().state)
    parts = {n: t for n, t in state.items() if n.startswith("classifier.")}
    body = {n: t for n, t in state.items() if n not in parts}
    return body | {
        n.replace("classifier.", f"classifier{part}.", 1): t
        for part in range(6)
        for n, t in parts.items()
    }


def ibn_b() -> State:
    state = dict(torchreid().state)
    norm = {"layer1.1.IN.weight": torch.ones(64), "layer1.1.IN.bias": torch.zeros(64)}
    return {n: t for n, t in state.items() if "bn1.running" not in n or "." in n[:6]} | norm


REFUSED: dict[str, tuple[Callable[[], State], str]] = {
    "OSNet": (
        lambda: {
            "conv1.conv.weight": torch.ones(16, 3, 7, 7),
            "conv2.0.conv2a.0.conv1.weight": torch.ones(4, 4, 1, 1),
            "conv2.0.gate.fc1.weight": torch.ones(1, 4, 1, 1),
            "classifier.weight": torch.ones(751, 512),
        },
        "OSNet",
    ),
    "CLIP-ReID": (
        with_names(dict, "image_encoder.conv1.weight", "bottleneck_proj.weight"),
        "CLIP-ReID",
    ),
    "TransReID, SIE": (with_names(of(strong_baseline), "base.sie_embed"), "SIE"),
    "TransReID, JPM": (
        with_names(of(strong_baseline), "b2.0.attn.qkv.weight", "bottleneck_1.weight"),
        "JPM",
    ),
    "AGW": (with_names(of(strong_baseline), "base.NL_2.0.g.weight"), "non-local"),
    "fast-reid's SBS": (with_names(of(fast_reid), "backbone.NL_3.1.W.0.weight"), "non-local"),
    "fast-reid's MGN": (
        with_names(of(fast_reid), "b1.0.conv1.weight", "b33_head.weight"),
        "MGN",
    ),
    "PCB of layumi": (pcb, "PCB"),
    "PCB of torchreid": (with_names(of(torchreid), "conv5.layers.0.weight"), "PCB"),
    "branches of SVDNet": (
        with_names(dict, "layer4_1.0.conv1.weight", "fc2_1.weight"),
        "SVDNet with branches",
    ),
    "two levels": (with_names(of(torchreid), "fc_fusion.0.weight"), "resnet50mid"),
    "IBN DenseNet": (
        with_names(dict, "features.denseblock1.denselayer1.norm1.IN.weight"),
        "IBN-Net's DenseNet",
    ),
    "IBN b": (ibn_b, r"IBN-Net \(b\)"),
}


def write(state: State, path: Path) -> Path:
    torch.save({f"module.{n}": t for n, t in state.items()}, path)
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_network_that_cannot_be_rebuilt_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    state, word = REFUSED[name]
    path = write(state(), tmp_path / "model.pth")
    for read in (open_model, lambda source: inspect_source(str(source))):
        with pytest.raises(UnrecognizedCheckpointError, match=word) as caught:
            read(path)
        assert caught.value.reason
        assert caught.value.hint


def test_every_refused_network_is_tried() -> None:
    states = (made() for made, _ in REFUSED.values())
    tried = [[row.name for row in NOT_REBUILT if row.is_of(state)] for state in states]
    assert all(len(found) == 1 for found in tried)
    assert {found[0] for found in tried} == {row.name for row in NOT_REBUILT}


def test_plain_network_is_of_no_code_base(tmp_path: Path) -> None:
    from covtool.checkpoints.foreign import read_checkpoint

    net = resnet(last_stride=2)
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    assert open_reid(read_checkpoint(tmp_path / "resnet18.pth")) is None


UNKNOWN = {
    "neck of three layers": (
        lambda: dict(layumi().state) | {"classifier.add_block.4.weight": torch.ones(4, 4)},
        "layumi.*neck",
    ),
    "power for each channel": (
        lambda: dict(strong_baseline().state) | {"global_pool.p": torch.full((512,), 3.0)},
        "strong-baseline.*neck",
    ),
    "missing tensor of the body": (
        lambda: {n: t for n, t in fast_reid().state.items() if "layer3.1.conv2" not in n},
        "fast-reid.*backbone",
    ),
    "layers counted otherwise": (
        lambda: dict(cluster_contrast().state) | {"module.base.9.weight": torch.ones(4, 4)},
        "cluster-contrast.*neck",
    ),
    "squeeze and excitation": (
        lambda: dict(fast_reid().state) | {"backbone.layer1.0.se.fc.0.weight": torch.ones(4, 64)},
        "fast-reid.*backbone",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_part_is_refused_with_the_name_of_the_code_base(name: str, tmp_path: Path) -> None:
    state, words = UNKNOWN[name]
    torch.save(state(), tmp_path / "model.pth")
    with pytest.raises(UnrecognizedCheckpointError, match=words):
        open_model(tmp_path / "model.pth")


def test_body_of_a_refused_network_is_left_to_arch(tmp_path: Path) -> None:
    from covtool.checkpoints.foreign import read_checkpoint

    path = write(pcb(), tmp_path / "pcb.pth")
    assert open_reid(read_checkpoint(path), arch="resnet18") is None
