"""fast-reid: ``backbone`` and ``heads``, with a config.yaml beside the file.

As in JDAI-CV/fast-reid: fastreid/modeling, configs/Base-*.yml.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.metadata.values import as_numbers, as_size, statistics_problem
from covtool.checkpoints.reid.beside import setting, settings_beside
from covtool.checkpoints.reid.necks import numbered, read_neck
from covtool.checkpoints.reid.network import PERSON, Neck, ReidNetwork, State, below, squashed
from covtool.printable import printable

CONFIG = "config.yaml"

_HEADS = re.compile(r"heads\.(weight$|bottleneck\.|bnneck\.|classifier\.weight$|pool_layer\.p$)")
_VEHICLES = re.compile(r"veri|vehicle", re.IGNORECASE)
_STRONGER = re.compile(r"(?<![a-z])sbs(?![a-z])", re.IGNORECASE)
_VEHICLE_SIZE, _STRONGER_SIZE = (256, 256), (384, 128)
_SETTINGS = {"pixel_mean": "mean", "pixel_std": "std"}
_FIXED_POWER = 3.0  # of its generalized mean without a parameter
_POOLINGS = {
    "identity": "avg",  # of a vision transformer, whose class token it is
    "avgpool": "avg",
    "globalavgpool": "avg",
    "fastavgpool": "avg",
    "fastglobalavgpool": "avg",
    "maxpool": "max",
    "globalmaxpool": "max",
    "gempool": "gem",
    "gempoolp": "gem",
    "generalizedmeanpooling": "gem",
    "generalizedmeanpoolingp": "gem",
}


def is_fast_reid(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether the names are fast-reid's."""
    return any(n.startswith("backbone.") for n in state) and any(_HEADS.match(n) for n in state)


def read_fast_reid(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return what file and config.yaml say; None for a neck or a pooling that cannot be rebuilt."""
    config = settings_beside(checkpoint.path, CONFIG)
    # Many programs write a config.yaml; one without heads is not fast-reid's.
    config = config if setting(config, "MODEL.HEADS") else {}
    power = state.get("heads.pool_layer.p")
    layer = setting(config, "MODEL.HEADS.POOL_LAYER") if power is None else "gempool"
    pooling, neck = _POOLINGS.get(str(layer or "avgpool").lower()), _neck(state)
    if pooling is None or neck is None:
        return None
    classifier = state.get("heads.weight", state.get("heads.classifier.weight"))
    stride = setting(config, "MODEL.BACKBONE.LAST_STRIDE")
    return ReidNetwork(
        body=below(state, "backbone."),
        classifier={} if classifier is None else {"weight": classifier},
        neck=neck,
        pooling=pooling,
        power=torch.tensor([_FIXED_POWER]) if pooling == "gem" and power is None else power,
        last_stride=stride if stride in (1, 2) else 1,
        unpadded=_has_plain_stem(state) and _counts_epochs(config, checkpoint),
        images=squashed(
            size=as_size(setting(config, "INPUT.SIZE_TEST")) or _usual_size(checkpoint.path.stem),
            interpolation="bicubic",
            **_normalization(state),
        ),
        settings={name: state[name] for name in _SETTINGS if name in state},
        read_beside=CONFIG if config else None,
        notes=(
            *(_padding_notes(config, checkpoint) if _has_plain_stem(state) else ()),
            *_angle_notes(config),
        ),
    )


def _neck(state: State) -> Neck | None:
    parts = numbered(below(state, "heads.bottleneck."))
    old = below(state, "heads.bnneck.")
    parts = [*parts, *([old] if old else [])]
    return read_neck(*parts) if parts else Neck()


def _usual_size(name: str) -> tuple[int, int]:
    # Published files are called after the data set and the kind: veri_sbs_R50-ibn.pth.
    if _VEHICLES.search(name):
        return _VEHICLE_SIZE
    return _STRONGER_SIZE if _STRONGER.search(name) else PERSON


def _normalization(state: Mapping[str, Tensor]) -> dict[str, tuple[float, ...]]:
    """Return mean and deviation of values in [0, 1]; the file has those of 0 to 255."""
    found = {}
    for entry, name in _SETTINGS.items():
        numbers = as_numbers(state.get(entry))
        if numbers is not None:
            found[name] = tuple(round(number / 255, 6) for number in numbers)
    return {} if statistics_problem(found) else found


def _has_plain_stem(state: State) -> bool:
    """Return whether the backbone begins as a ResNet, and not as a ResNeSt or a transformer."""
    return "backbone.conv1.weight" in state and "backbone.layer4.0.conv1.weight" in state


def _counts_epochs(config: Mapping[str, Any], checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a version of 2021 or later wrote the file: those pool without padding."""
    return "epoch" in checkpoint.others or setting(config, "SOLVER.MAX_EPOCH") is not None


def _padding_notes(config: Mapping[str, Any], checkpoint: ForeignCheckpoint) -> list[str]:
    if _counts_epochs(config, checkpoint):
        return ["The stem pools without padding, as fast-reid's does since it counts epochs."]
    return [
        "The stem pools with padding, as torchvision's does; versions of fast-reid that count "
        f"epochs pool without: their files say epoch, or have {CONFIG} beside them."
    ]


def _angle_notes(config: Mapping[str, Any]) -> list[str]:
    kind = str(setting(config, "MODEL.HEADS.CLS_LAYER") or "linear")
    if kind.lower() == "linear":
        return []
    return [f"It was trained with {printable(kind)}, which compares angles: its logits are others."]
