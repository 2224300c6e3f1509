"""The tensors of published covariance networks under canonical names.

Their files name the layers in their own ways: the layers of a ResNet counted as ``features.0`` to
``features.7``, a reduction called ``layer_reduce``, ``features.8`` or
``representation.conv_dr_block.0``. Here they become torchvision's names for the body, and plain
ones for what follows it.

Layouts as in jiangtaoxie/fast-MPN-COV and KingJamesSong/DifferentiableSVD (src/network).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from covtool.backbones.architectures import load_index
from covtool.backbones.fingerprint import is_relevant
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.key_report import KeyReport, compare_keys

Shapes = dict[str, tuple[int, ...]]

_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_DIRECT = {"layer_reduce.": "conv.", "layer_reduce_bn.": "bn."}
_IN_FEATURES = {"features.8.": "conv.", "features.9.": "bn."}  # of a ResNet only
_IN_REPRESENTATION = {
    "representation.conv_dr_block.0.": "conv.",
    "representation.conv_dr_block.1.": "bn.",
}
_OLD_DENSENET = re.compile(r"(?<=\.)(norm|conv)\.(?=[12]\.)")
_CLASSIFIERS = ("classifier.", "fc.")
_HALF = 0.5  # an architecture that shares fewer tensors is not the one that was meant


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Tensors of a checkpoint under canonical names.

    Attributes:
        body: Tensors of the feature extractor, under torchvision's names.
        reduction: ``conv.weight``, ``bn.weight``, ...
        classifier: Behind ``classifier.`` or ``fc.``.
        reduced_by: Names before those of the reduction: ``layer_reduce``, ``features`` or
            ``representation``; None without one.
        is_counted: Whether the body is a ResNet's whose layers are counted.
    """

    body: dict[str, Tensor]
    reduction: dict[str, Tensor]
    classifier: dict[str, Tensor]
    reduced_by: str | None
    is_counted: bool

    @property
    def weights(self) -> list[Tensor]:
        """Of the classifier's linear layers, in order."""
        return [
            t
            for n, t in self.classifier.items()
            if n.endswith("weight") and t.ndim == 2 and t.numel()
        ]

    @property
    def channels(self) -> int | None:
        """Of the map that is pooled; None where the tensors do not show it."""
        if self.reduced_by:
            conv = self.reduction.get("conv.weight")
            return None if conv is None or not conv.ndim else conv.shape[0]
        widths = [t.shape[0] for n, t in self.body.items() if n.endswith("weight") and t.ndim]
        return widths[-1] if widths else None


def read_layout(checkpoint: ForeignCheckpoint) -> Layout:
    """Return the tensors of a checkpoint, sorted into body, reduction and classifier."""
    state = {n.replace("features.module.", "features."): t for n, t in checkpoint.state.items()}
    counted = "features.4.0.conv1.weight" in state
    reductions = _DIRECT | _IN_REPRESENTATION | (_IN_FEATURES if counted else {})
    body: dict[str, Tensor] = {}
    reduction: dict[str, Tensor] = {}
    classifier: dict[str, Tensor] = {}
    reduced_by = None
    for name, tensor in state.items():
        prefix = next((p for p in reductions if name.startswith(p)), None)
        if prefix is not None:
            reduction[reductions[prefix] + name.removeprefix(prefix)] = tensor
            reduced_by = "layer_reduce" if prefix in _DIRECT else prefix.partition(".")[0]
        elif name.startswith(_CLASSIFIERS):
            classifier[name.partition(".")[2]] = tensor
        else:
            body[_counted_name(name) if counted else _OLD_DENSENET.sub(r"\1", name)] = tensor
    return Layout(
        body=body,
        reduction=reduction,
        classifier=classifier,
        reduced_by=reduced_by,
        is_counted=counted,
    )


def architecture_of(body: Mapping[str, Tensor]) -> str | None:
    """Return the network of torchvision with exactly this feature extractor."""
    ours = _shapes(body)
    return next((name for name, theirs in _torchvision().items() if theirs == ours), None)


def difference_to_nearest(body: Mapping[str, Tensor]) -> tuple[str, KeyReport] | None:
    """Return the network of torchvision that shares most tensors with a body, and what differs."""
    ours, networks = _shapes(body), _torchvision()
    shared = {
        name: sum(ours.get(own) == shape for own, shape in theirs.items()) / len(theirs)
        for name, theirs in networks.items()
    }
    nearest = max(shared, key=lambda name: shared[name])
    if shared[nearest] < _HALF:
        return None
    return nearest, compare_keys(networks[nearest], ours)


def _counted_name(name: str) -> str:
    parts = name.split(".", 2)
    if len(parts) == 3 and parts[0] == "features" and parts[1] in _RESNET:
        return f"{_RESNET[parts[1]]}.{parts[2]}"
    return name


def _shapes(body: Mapping[str, Tensor]) -> Shapes:
    return {n: tuple(t.shape) for n, t in body.items() if is_relevant(n)}


def _torchvision() -> dict[str, Shapes]:
    """Return the feature extractors of all networks of torchvision."""
    index = load_index()
    return {
        architecture.name: {n: s for n, s in index.tensors(row) if not n.startswith(_CLASSIFIERS)}
        for row, architecture in enumerate(index.architectures)
        if architecture.library == "torchvision" and not architecture.arguments
    }
