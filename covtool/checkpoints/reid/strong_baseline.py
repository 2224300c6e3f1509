"""reid-strong-baseline and what was made from it: ``base``, ``bottleneck``, ``classifier``.

As in michuanhaohao/reid-strong-baseline, mangye16/ReID-Survey (AGW) and damo-cv/TransReID
(modeling, model/make_model.py), and alibaba/cluster-contrast-reid and yxgeee/SpCL (models), which
count the layers of ``base``.
"""

import re

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.reid.necks import read_neck
from covtool.checkpoints.reid.network import Neck, ReidNetwork, State, below, squashed
from covtool.checkpoints.reid.people import is_of_people

_HALF = (0.5, 0.5, 0.5)
_COUNTED = re.compile(r"(\d+)\.(.*)")
_LAYERS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


def is_strong_baseline(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether the names are reid-strong-baseline's, with BNNeck or people's classes."""
    if not any(n.startswith("base.") for n in state):
        return False
    # `base` is many authors' word: a neck, or a number of people, has to join it.
    last = state.get("classifier.weight")
    of_people = last is not None and is_of_people(last, checkpoint)
    return "bottleneck.running_mean" in state or ("bottleneck.weight" not in state and of_people)


def read_strong_baseline(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return what the file says; None for a neck that cannot be rebuilt."""
    part = below(state, "bottleneck.")
    neck = read_neck(part) if part else Neck()
    if neck is None:
        return None
    power = state.get("global_pool.p", state.get("gap.p"))
    # TransReID normalizes with 0.5, the networks with a ResNet with ImageNet's statistics.
    is_transformer = "base.cls_token" in state
    is_plain_resnet = "base.bn1.weight" in state and not any(".IN." in name for name in state)
    return ReidNetwork(
        body=below(state, "base."),
        classifier=below(state, "classifier."),
        neck=neck,
        pooling="avg" if power is None else "gem",
        power=power,
        may_lack_relu=is_plain_resnet,
        images=squashed(mean=_HALF, std=_HALF) if is_transformer else squashed(),
    )


def is_cluster_contrast(state: State, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether the names are those of cluster-contrast-reid and SpCL."""
    return "base.0.weight" in state and "feat_bn.running_mean" in state


def read_cluster_contrast(state: State, checkpoint: ForeignCheckpoint) -> ReidNetwork | None:
    """Return what the file says; None for a neck or a body that cannot be rebuilt."""
    parts = [part for name in ("feat.", "feat_bn.") if (part := below(state, name))]
    neck, body = read_neck(*parts), _uncounted(below(state, "base."))
    if neck is None or body is None:
        return None
    power = state.get("gap.p")
    return ReidNetwork(
        body=body[0],
        classifier=below(state, "classifier."),
        neck=neck,
        pooling="avg" if power is None else "gem",
        power=power,
        may_lack_relu=True,
        has_relu=body[1],
        images=squashed(interpolation="bicubic"),
    )


def _uncounted(state: State) -> tuple[State, bool] | None:
    """Return tensors of a Sequential under a ResNet's names, and whether a ReLU was counted."""
    numbers = sorted({int(found[1]) for name in state if (found := _COUNTED.match(name))})
    # Without a ReLU at 2, the max pooling is 2 and the stages begin at 3; with it, at 4.
    if numbers not in ([0, 1, 3, 4, 5, 6], [0, 1, 4, 5, 6, 7]):
        return None
    names = dict(zip(map(str, numbers), _LAYERS, strict=True))
    body = {}
    for name, tensor in state.items():
        number, _, rest = name.partition(".")
        body[f"{names[number]}.{rest}"] = tensor
    return body, numbers[-1] == 7
