"""torchreid, SVDNet-pytorch, layumi's baseline and IBN-Net: torchvision's names and other heads.

As in KaiyangZhou/deep-person-reid (torchreid/models/resnet.py), hsfzxjy/svdnet-pytorch,
layumi/Person_reID_baseline_pytorch (model.py) and XingangPan/IBN-Net.
"""

import re

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.reid.beside import setting, settings_beside
from covtool.checkpoints.reid.necks import numbered, read_neck
from covtool.checkpoints.reid.network import Neck, ReidNetwork, State, below, squashed
from covtool.checkpoints.reid.people import is_of_people
from covtool.specs import InputSpec

OPTIONS = "opts.yaml"

_HEADS = ("fc.", "classifier.")
_HALVED = re.compile(r"layer\d\.\d+\.bn1\.IN\.weight$")


def is_torchreid(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a ResNet has torchreid's head, or signs of training on people."""
    if "layer4.0.conv1.weight" not in state or "classifier.weight" not in state:
        return False
    # torchreid writes the rank-1 into its checkpoints.
    is_own = _is_eigenlayer(state) or "fc.1.running_mean" in state or "rank1" in checkpoint.others
    return is_own or is_of_people(state["classifier.weight"], checkpoint)


def read_torchreid(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return what the file says; None for layers before the classifier that cannot be rebuilt."""
    hidden = numbered(below(state, "fc."))
    neck = read_neck(*hidden, relu=True) if hidden else Neck()
    if neck is None:
        return None
    # torchreid's resnet50_fc512 has stride 1 in its last stage, its plain resnet50 has 2.
    has_own = bool(hidden) or _is_eigenlayer(state)
    return ReidNetwork(
        body={n: t for n, t in state.items() if not n.startswith(_HEADS)},
        classifier=below(state, "classifier."),
        neck=neck,
        eigenlayer=state["fc.weight"] if _is_eigenlayer(state) else None,
        last_stride=1 if has_own else 2,
        images=squashed(),
    )


def is_layumi(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether the names are those of layumi's baseline."""
    return any(n.startswith("classifier.add_block.") for n in state)


def read_layumi(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return what file and opts.yaml say; None for a head or a body that cannot be rebuilt."""
    parts = numbered(below(state, "classifier.add_block."))
    neck, body = read_neck(*parts), below(state, "model.")
    if neck is None or not any(n.startswith(("layer4.", "layers.")) for n in body):
        return None
    stride = setting(settings_beside(checkpoint.path, OPTIONS), "stride")
    # layumi resizes images to squares for Swin.
    is_swin = any(n.startswith("layers.") for n in body)
    return ReidNetwork(
        body=body,
        classifier=below(state, "classifier.classifier.0."),
        neck=neck,
        last_stride=2 if is_swin or stride not in (1, 2) else stride,
        images=squashed(interpolation="bicubic", **({"size": (224, 224)} if is_swin else {})),
        read_beside=OPTIONS if stride in (1, 2) else None,
        notes=(
            "No activation follows the neck, as published since 2018; what was tested before that "
            "is --feature pooled.",
        ),
    )


def is_ibn_net(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a plain ResNet has IBN-Net's half instance norms."""
    return "conv1.weight" in state and any(_HALVED.match(n) for n in state)


def read_ibn_net(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return a classifier of ImageNet's images, with half instance norms."""
    return ReidNetwork(
        body={n: t for n, t in state.items() if not n.startswith(_HEADS)},
        classifier=below(state, "fc.") or below(state, "classifier."),
        last_stride=2,
        images=InputSpec(),
    )


def _is_eigenlayer(state: State) -> bool:
    """Return whether a linear layer without bias precedes the classifier: SVDNet's."""
    weight, classifier = state.get("fc.weight"), state["classifier.weight"]
    return (
        weight is not None
        and weight.ndim == classifier.ndim == 2
        and "fc.bias" not in state
        and classifier.shape[1] == len(weight)
    )
