"""Checkpoints of published covariance networks: fast-MPN-COV, DifferentiableSVD, and kin.

Their networks are torchvision's with a covariance head, under names of their own: the layers of a
ResNet counted as ``features.0`` to ``features.7``, a reduction called ``layer_reduce``,
``features.8`` or ``representation.conv_dr_block.0``. Here such tensors become a base architecture
of torchvision, the operations that make the published network of it, and the tensors under the
names that the operated model has. Checkpoints of re-identification are recognized by their body.

Layouts as in jiangtaoxie/fast-MPN-COV and KingJamesSong/DifferentiableSVD (src/network), torchreid.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from covtool.backbones.architectures import load_index
from covtool.backbones.create import create_model
from covtool.backbones.fingerprint import is_relevant
from covtool.checkpoints.building import load_exactly_
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.key_report import group_keys
from covtool.errors import CheckpointError
from covtool.layers import CovariancePooling
from covtool.specs import BaseSpec, HeadSpec, InputSpec, LastStrideSpec, Operation
from covtool.surgery.rebuild import operate

DEFAULT_ITERATIONS = 5  # in all published scripts; the class's own default is 3

_RESNET = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
_REDUCTIONS = {
    "layer_reduce.": "conv.",
    "layer_reduce_bn.": "bn.",
    "features.8.": "conv.",
    "features.9.": "bn.",
    "representation.conv_dr_block.0.": "conv.",
    "representation.conv_dr_block.1.": "bn.",
}
_OLD_DENSENET = re.compile(r"(?<=\.)(norm|conv)\.(?=[12]\.)")
_BEFORE_LAST_POOLING = {"vgg": -2, "alexnet": -2}  # features[-1] is left out
_CLASSIFIERS = ("classifier.", "fc.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A published network, rebuilt.

    Attributes:
        model: In eval mode, float32, with every tensor but `unused` loaded.
        base: The architecture that it was made from.
        operations: What makes the published network of it.
        num_classes: Outputs of its classifier; None where it has none that is used.
        input: The images that the published scripts take.
        checkpoint: With the fitting prefix.
        notes: What was assumed, in sentences.
    """

    model: nn.Module
    base: BaseSpec
    operations: tuple[Operation, ...]
    num_classes: int | None
    input: InputSpec
    checkpoint: ForeignCheckpoint
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Tensors of a checkpoint under canonical names.

    Attributes:
        body: Of the feature extractor, under torchvision's names.
        reduction: ``conv.weight``, ``bn.weight``, ...
        classifier: Behind ``classifier.`` or ``fc.``.
        trained_at_stride_1: Whether the last stage keeps the resolution, as far as it can be told.
    """

    body: dict[str, Tensor]
    reduction: dict[str, Tensor]
    classifier: dict[str, Tensor]
    trained_at_stride_1: bool


def open_published(
    checkpoint: ForeignCheckpoint, *, iterations: int | None = None
) -> PublishedModel | None:
    """The published network that a checkpoint is of; None where it is of none.

    Args:
        checkpoint: Any checkpoint.
        iterations: Newton-Schulz steps, which no file tells; None for 5, with a note.

    Raises:
        CheckpointError: The tensors are those of such a network, but not all of them are there.
    """
    for reading in checkpoint.readings():
        layout = _layout(reading)
        if layout is None:
            continue
        name = _architecture(layout.body)
        if name is not None:
            return _built(reading, layout, name, iterations)
    return None


def _layout(checkpoint: ForeignCheckpoint) -> _Layout | None:
    """Canonical names; None where nothing speaks of a published head."""
    state = {n.replace("features.module.", "features."): t for n, t in checkpoint.state.items()}
    sequential = "features.4.0.conv1.weight" in state
    body: dict[str, Tensor] = {}
    reduction: dict[str, Tensor] = {}
    classifier: dict[str, Tensor] = {}
    for name, tensor in state.items():
        found = next((p for p in _REDUCTIONS if name.startswith(p)), None)
        if found and (sequential or not found.startswith("features.")):
            reduction[_REDUCTIONS[found] + name.removeprefix(found)] = tensor
        elif name.startswith(_CLASSIFIERS):
            classifier[name.partition(".")[2]] = tensor
        else:
            body[_canonical(name, sequential=sequential)] = tensor
    told = (checkpoint.told_architecture or "").startswith("mpncov")
    direct = any(n.startswith(("layer_reduce.", "features.8.")) for n in state) and not (
        not sequential and "features.8.weight" in state
    )
    layout = _Layout(
        body=body, reduction=reduction, classifier=classifier, trained_at_stride_1=told or direct
    )
    return layout if sequential or reduction or _is_second_order(layout) else None


def _canonical(name: str, *, sequential: bool) -> str:
    if sequential:
        _, number, rest = name.split(".", 2) if name.count(".") > 1 else ("", "", name)
        return f"{_RESNET[number]}.{rest}" if number in _RESNET else name
    return _OLD_DENSENET.sub(r"\1", name)


def _is_second_order(layout: _Layout) -> bool:
    """Whether the classifier takes more than the channels: products of them, or other classes."""
    first = _first_linear(layout.classifier)
    channels = _channels(layout)
    if first is None or channels is None:
        return False
    return _vectorization(first.shape[1], channels) is not None


def _first_linear(classifier: Mapping[str, Tensor]) -> Tensor | None:
    return next((t for n, t in classifier.items() if n.endswith("weight") and t.ndim == 2), None)


def _channels(layout: _Layout) -> int | None:
    """Of the map that the covariance is taken of."""
    if layout.reduction:
        conv = layout.reduction.get("conv.weight")
        return None if conv is None else conv.shape[0]
    widths = [t.shape[0] for n, t in layout.body.items() if n.endswith("weight")]
    return widths[-1] if widths else None


def _vectorization(inputs: int, channels: int) -> str | None:
    return {channels * (channels + 1) // 2: "triu", channels**2: "full"}.get(inputs)


def _architecture(body: Mapping[str, Tensor]) -> str | None:
    """The network of torchvision with exactly this feature extractor."""
    ours = {n: tuple(t.shape) for n, t in body.items() if is_relevant(n)}
    index = load_index()
    for row, architecture in enumerate(index.architectures):
        if architecture.library == "torchvision" and not architecture.arguments:
            theirs = {n: s for n, s in index.tensors(row) if not n.startswith(_CLASSIFIERS)}
            if theirs == ours:
                return architecture.name
    return None


def _built(
    checkpoint: ForeignCheckpoint, layout: _Layout, name: str, iterations: int | None
) -> PublishedModel | None:
    first, channels = _first_linear(layout.classifier), _channels(layout)
    if first is None or channels is None:
        raise _incomplete(checkpoint, "its classifier, or the convolution of its reduction")
    vec = _vectorization(first.shape[1], channels)
    if vec is None and (layout.reduction or first.shape[1] != channels):
        raise CheckpointError(
            f"{checkpoint.path} has a classifier for {first.shape[1]:,} features, and {channels} "
            "channels before it.",
            reason="That is neither their mean, nor the triangle or the whole of their covariance.",
            hint="Is it a compact bilinear network? Its hashes are not among the tensors.",
        )
    last = [t for n, t in layout.classifier.items() if n.endswith("weight")][-1]
    base = BaseSpec(library="torchvision", name=name)
    head = _head(name, layout, vec, iterations) if vec else None
    strided = LastStrideSpec() if layout.trained_at_stride_1 else None
    operations = tuple(o for o in (strided, head) if o is not None)
    images, classes = InputSpec(), last.shape[0]
    model = create_model(base, num_classes=classes)
    classifier = model.fc if hasattr(model, "fc") else model.classifier
    for operation in operations:
        model = operate(model, operation, images, num_classes=classes)
    tensors = dict(layout.body)
    if layout.reduction:
        tensors |= {f"{_pooling(model)}.reduction.{n}": t for n, t in layout.reduction.items()}
    tensors |= _classifier_tensors(layout, model, classifier)
    load_exactly_(model, tensors, (), checkpoint)
    return PublishedModel(
        model=model.eval(),
        base=base,
        operations=operations,
        num_classes=classes,
        input=images,
        checkpoint=checkpoint,
        notes=_notes(checkpoint, layout, name, head, iterations),
    )


def _head(name: str, layout: _Layout, vec: str, iterations: int | None) -> HeadSpec:
    hidden = sum(n.endswith("weight") for n in layout.classifier) > 1
    return HeadSpec(
        head="isqrt",
        dim=_channels(layout) if layout.reduction else HeadSpec().dim,
        reduction="conv-bn-relu" if layout.reduction else "none",
        iterations=iterations or DEFAULT_ITERATIONS,
        vec=vec,
        tap=_tap(name),
        hidden="keep" if hidden else "drop",
    )


def _tap(name: str) -> str | None:
    """The layer before the last max pooling, which the published VGG and AlexNet do without."""
    place = next((p for f, p in _BEFORE_LAST_POOLING.items() if name.startswith(f)), None)
    if place is None:
        return None
    features = create_model(BaseSpec(library="torchvision", name=name), num_classes=1).features
    return f"features.{len(features) + place}"


def _pooling(model: nn.Module) -> str:
    return next(n for n, m in model.named_modules() if isinstance(m, CovariancePooling))


def _classifier_tensors(
    layout: _Layout, model: nn.Module, classifier: nn.Module
) -> dict[str, Tensor]:
    """A single Linear goes to the place of the network's last one."""
    prefix = "fc" if hasattr(model, "fc") else "classifier"
    if isinstance(classifier, nn.Sequential) and "weight" in layout.classifier:
        prefix = f"{prefix}.{len(classifier) - 1}"
    return {f"{prefix}.{n}": t for n, t in layout.classifier.items()}


def _notes(
    checkpoint: ForeignCheckpoint,
    layout: _Layout,
    name: str,
    head: HeadSpec | None,
    iterations: int | None,
) -> tuple[str, ...]:
    notes = []
    if head is None:
        notes.append(f"Recognized as a {name} with another naming; its head is an average.")
    else:
        notes.append(
            f"Recognized as a {name} with a covariance head of {_channels(layout)} channels."
        )
        if iterations is None:
            notes.append(
                f"The file does not tell the number of Newton-Schulz steps: {DEFAULT_ITERATIONS}, "
                "as in the published scripts; --iterations N for another."
            )
    if name.startswith("resn") and head is not None and not layout.trained_at_stride_1:
        notes.append("The last stage is taken to halve the resolution, as in the plain network.")
    if checkpoint.ignored:
        groups = ", ".join(group for group, _ in group_keys(checkpoint.ignored))
        notes.append(f"Not used of the file: {groups} ({len(checkpoint.ignored)} in all).")
    return tuple(notes)


def _incomplete(checkpoint: ForeignCheckpoint, what: str) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.path} looks like a published covariance network, but {what} is missing.",
        hint="Was the file cut, or the classifier taken off? covtool inspect lists what is there.",
    )
