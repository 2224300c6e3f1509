"""Checkpoints of published covariance networks: fast-MPN-COV, DifferentiableSVD, and kin.

Their networks are torchvision's with another head. Here such a file becomes a base architecture
of torchvision, the operations that make the published network of it, and its tensors under the
names that the operated model has.

As in jiangtaoxie/fast-MPN-COV and KingJamesSong/DifferentiableSVD: model_init.py, src/network,
src/representation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from covtool.backbones.create import create_model
from covtool.checkpoints.building import ignored_note, load_exactly_, precision_note
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.meta_layer_names import stated_meta_layer
from covtool.checkpoints.published_layouts import (
    Layout,
    architecture_of,
    difference_to_nearest,
    read_layout,
)
from covtool.errors import CheckpointError, UnrecognizedCheckpointError
from covtool.layers.global_pooling import GlobalPooling
from covtool.printable import printable
from covtool.specs import BaseSpec, HeadSpec, InputSpec, LastStrideSpec, Operation
from covtool.surgery.operations import of_kind
from covtool.surgery.rebuild import operate

DEFAULT_ITERATIONS = 5  # in all published scripts; the class's own default is 3
ASSUMED_META_LAYER = "The file does not tell its meta-layer"
ASSUMED_ITERATIONS = "The file does not tell the number of Newton-Schulz steps"
PREFIX = "mpncov"  # of the published names: mpncovresnet50, mpncovvgg16_bn

_WITHOUT_LAST_POOLING = ("vgg", "alexnet")
_COMPACT_BILINEAR = 8192  # projDim of the published scripts
_HASH_SEED = 1  # of the published compact bilinear pooling
_THRESH = 1e-8  # under the signed root of both published bilinear poolings


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A published network, rebuilt.

    Attributes:
        model: In eval mode, float32, with every tensor of the file loaded.
        base: The architecture that it was made from.
        operations: Operations that make the published network of it.
        num_classes: Outputs of its classifier.
        input: The images that the published scripts take.
        checkpoint: Checkpoint with the fitting prefix.
        notes: Assumptions, in sentences.
        has_classifier: Whether the file has one; else the model's is random.
    """

    model: nn.Module
    base: BaseSpec
    operations: tuple[Operation, ...]
    num_classes: int
    input: InputSpec
    checkpoint: ForeignCheckpoint
    notes: tuple[str, ...]
    has_classifier: bool = True


def open_published(
    checkpoint: ForeignCheckpoint, *, arch: str | None = None, iterations: int | None = None
) -> PublishedModel | None:
    """Return the published network that a checkpoint is of; None where it is of none.

    Args:
        checkpoint: Any checkpoint.
        arch: A published name, ``mpncovresnet50``, where the file does not tell it; with any
            other name it is not a published network.
        iterations: Newton-Schulz steps, which no file tells; None for 5, with a note.

    Raises:
        CheckpointError: The tensors are those of such a network, but not all of them are there,
            or they are not of `arch`.
    """
    if checkpoint.recipe is not None or (arch is not None and not arch.startswith(PREFIX)):
        return None
    if arch is not None:
        checkpoint = replace(checkpoint, statements=checkpoint.statements.with_architecture(arch))
    readings = [(reading, read_layout(reading)) for reading in checkpoint.readings()]
    for reading, layout in readings:
        name = architecture_of(layout.body)
        if name is None or not _is_published(name, layout, reading):
            continue
        if arch not in (None, PREFIX + name):
            raise _not_of(checkpoint, arch, f"Its layers are those of a {name}.")
        return _built(reading, layout, name, iterations)
    # Only now: what looks damaged behind one prefix may be whole behind another.
    for _, layout in readings:
        near = difference_to_nearest(layout.body) if layout.reduced_by else None
        if near is not None:
            raise _damaged(checkpoint, *near)
    if arch is not None:
        raise _not_of(checkpoint, arch, "Neither its names nor its shapes are those of one.")
    return None


def _is_published(name: str, layout: Layout, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a published head is likely: a reduction, or a classifier that fits one.

    A VGG with one Linear for 512 features is that of many authors, who pool their maps in other
    ways, and 8,192 features can be a map of 4 x 4. So these need the published container too.
    """
    if layout.reduced_by:
        return True
    pooled = _pooled(layout) if layout.weights and layout.channels else None
    if pooled is None:
        return False
    if pooled["head"] == "cbp" or (pooled["head"] == "gap" and _drops_pooling(name)):
        named = (checkpoint.stated_architecture or "").removeprefix(PREFIX)
        return named == name and "best_prec1" in checkpoint.others
    if pooled["head"] == "gap":
        return layout.is_counted and "weight" in layout.classifier
    return True


def _drops_pooling(name: str) -> bool:
    return name.startswith(_WITHOUT_LAST_POOLING)


def _pooled(layout: Layout) -> dict[str, object] | None:
    """Return fields of the head whose vector is as long as the classifier's inputs, or None.

    Only MPN-COV reduces in its own representation, and its vector is the triangle. The whole
    matrix behind no reduction of its own is B-CNN's.
    """
    channels, inputs = layout.channels, layout.weights[0].shape[1]
    if inputs == channels:
        return {"head": "gap"}
    if inputs == channels * (channels + 1) // 2:
        return {"head": "isqrt", "vec": "triu"}
    if inputs == channels**2:
        if layout.reduced_by in ("layer_reduce", "representation"):
            return {"head": "isqrt", "vec": "full"}
        return {"head": "bilinear", "vec": "full", "thresh": _THRESH}
    if inputs == _COMPACT_BILINEAR and layout.reduced_by in (None, "features"):
        return {"head": "cbp", "sketch_size": inputs, "thresh": _THRESH}
    return None


def _built(
    checkpoint: ForeignCheckpoint, layout: Layout, name: str, iterations: int | None
) -> PublishedModel:
    if not layout.weights or layout.channels is None:
        raise _incomplete(checkpoint, layout)
    pooled = _pooled(layout)
    if pooled is None:
        raise _other_length(checkpoint, layout)
    base = BaseSpec(library="torchvision", name=name)
    images, classes = InputSpec(), layout.weights[-1].shape[0]
    model = create_model(base, num_classes=classes)
    operations = _operations(name, layout, pooled, iterations, model, checkpoint)
    tensors = {**layout.body, **_classifier_tensors(layout, model)}
    for operation in operations:
        model = operate(model, operation, images, num_classes=classes)
    tensors |= _pooling_tensors(layout, model, pooled)
    load_exactly_(model, tensors, (), checkpoint)
    return PublishedModel(
        model=model.eval(),
        base=base,
        operations=operations,
        num_classes=classes,
        input=images,
        checkpoint=checkpoint,
        notes=_notes(checkpoint, layout, name, operations, iterations),
    )


def _operations(
    name: str,
    layout: Layout,
    pooled: Mapping[str, object],
    iterations: int | None,
    model: nn.Module,
    checkpoint: ForeignCheckpoint,
) -> tuple[Operation, ...]:
    strided = [LastStrideSpec()] if _keeps_resolution(name, layout, checkpoint) else []
    if pooled["head"] == "gap" and not layout.reduced_by and not _drops_pooling(name):
        return tuple(strided)  # the network's own average
    fields = dict(pooled)
    if layout.reduced_by:
        fields["dim"] = layout.channels
    if fields["head"] == "isqrt":
        fields |= _meta_layer(checkpoint, iterations)
    head = HeadSpec(
        **fields,
        reduction="conv-bn-relu" if layout.reduced_by else "none",
        # The last of VGG's and AlexNet's features is a max pooling, which these networks lack.
        tap=f"features.{len(model.features) - 2}" if _drops_pooling(name) else None,
        hidden="keep" if len(layout.weights) > 1 else "drop",
    )
    return (*strided, head)


def _meta_layer(checkpoint: ForeignCheckpoint, iterations: int | None) -> dict[str, object]:
    """Return fields of the meta-layer: as names say, or those of the Newton-Schulz iteration."""
    # Who gives a number of iterations says by that that it is the iteration.
    meta_layer = stated_meta_layer(checkpoint.path) if iterations is None else None
    if meta_layer is not None and meta_layer.fields["head"] != "isqrt":
        return dict(meta_layer.fields)
    return {"iterations": iterations or DEFAULT_ITERATIONS}


def _keeps_resolution(name: str, layout: Layout, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether the last stage of a ResNet has stride 1, as in every mpncovresnet."""
    named = (checkpoint.stated_architecture or "").startswith(PREFIX)
    return name.startswith("res") and (named or layout.reduced_by in ("layer_reduce", "features"))


def _classifier_tensors(layout: Layout, model: nn.Module) -> dict[str, Tensor]:
    """Return the classifier's tensors; a single Linear takes the place of the network's last."""
    prefix = "fc" if hasattr(model, "fc") else "classifier"
    classifier = model.get_submodule(prefix)
    if isinstance(classifier, nn.Sequential) and "weight" in layout.classifier:
        prefix = f"{prefix}.{len(classifier) - 1}"
    return {f"{prefix}.{n}": t for n, t in layout.classifier.items()}


def _pooling_tensors(
    layout: Layout, model: nn.Module, pooled: Mapping[str, object]
) -> dict[str, Tensor]:
    path = next((n for n, m in model.named_modules() if isinstance(m, GlobalPooling)), None)
    tensors = {f"{path}.reduction.{n}": t for n, t in layout.reduction.items()}
    if pooled["head"] == "cbp":
        hashes = _published_hashes(layout.channels, pooled["sketch_size"])
        tensors |= {f"{path}.{n}": t for n, t in hashes.items()}
    return tensors


def _published_hashes(channels: int, size: int) -> dict[str, Tensor]:
    """Return the hashes of published compact bilinear pooling, whose seed is fixed."""
    # Drawn in the published order, on the CPU: another order or device gives other numbers.
    generator = torch.Generator("cpu").manual_seed(_HASH_SEED)
    first, second = (torch.randint(size, (channels,), generator=generator) for _ in range(2))
    signs = [torch.randint(2, (channels,), generator=generator) * 2.0 - 1.0 for _ in range(2)]
    return {
        "first_buckets": first,
        "second_buckets": second,
        "first_signs": signs[0],
        "second_signs": signs[1],
    }


def _notes(
    checkpoint: ForeignCheckpoint,
    layout: Layout,
    name: str,
    operations: tuple[Operation, ...],
    iterations: int | None,
) -> tuple[str, ...]:
    head = next(iter(of_kind(operations, HeadSpec)), None)
    notes = [_head_note(layout, name, head)]
    if head is not None and head.head == "isqrt" and iterations is None:
        notes.append(
            f"{ASSUMED_ITERATIONS}: {DEFAULT_ITERATIONS}, as in the published scripts; "
            "--iterations N for another."
        )
    if head is not None and _pooled(layout)["head"] == "isqrt":
        notes.append(_meta_layer_note(checkpoint, head))
    if _is_stride_assumed(name, layout, checkpoint):
        notes.append(
            "The last stage is taken to halve the resolution, as in the plain network; "
            f"--arch {PREFIX}{name} where it keeps it."
        )
    tensors = {**layout.body, **layout.reduction, **layout.classifier}
    notes += [precision_note(tensors), ignored_note(checkpoint)]
    return tuple(filter(None, notes))


def _meta_layer_note(checkpoint: ForeignCheckpoint, head: HeadSpec) -> str:
    meta_layer = stated_meta_layer(checkpoint.path)
    if meta_layer is not None and meta_layer.fields["head"] == head.head:
        name = printable(meta_layer.stated_by)
        return f"The name {name} says {meta_layer.name}: its meta-layer is taken to be that."
    whole = head.vec == "full"
    hint = " Vectors of the whole matrix come from DifferentiableSVD." if whole else ""
    return (
        f"{ASSUMED_META_LAYER}: iSQRT-COV's is taken, and the logits are wrong where it was "
        f"another.{hint} convert --head mpn imports the root of an eigendecomposition (SVD_Pade "
        "and its kin), --head seb the scaling eigen branch (SEB)."
    )


def _is_stride_assumed(name: str, layout: Layout, checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a ResNet's last stage is assumed to be the plain network's."""
    named = checkpoint.stated_architecture is not None
    return name.startswith("res") and not named and not _keeps_resolution(name, layout, checkpoint)


def _head_note(layout: Layout, name: str, head: HeadSpec | None) -> str:
    kinds = {
        "isqrt": "a covariance head",
        "mpn": "a covariance head (mpn)",
        "seb": "a covariance head (seb, the scaling eigen branch)",
        "bilinear": "bilinear pooling (B-CNN)",
        "cbp": f"compact bilinear pooling (hashes drawn with the published seed {_HASH_SEED})",
        "gap": "an average in place of its own pooling",
    }
    if head is None:
        return f"Recognized as a {name} with another naming; its head is an average."
    return f"Recognized as a {name} with {kinds[head.head]}, of {layout.channels} channels."


def _incomplete(checkpoint: ForeignCheckpoint, layout: Layout) -> CheckpointError:
    what = "the convolution of its reduction" if layout.weights else "its classifier"
    return CheckpointError(
        f"{checkpoint.path} looks like a published covariance network, but {what} is missing.",
        hint="Was the file cut, or the classifier taken off? covtool inspect lists what is there.",
    )


def _other_length(checkpoint: ForeignCheckpoint, layout: Layout) -> CheckpointError:
    inputs, channels = layout.weights[0].shape[1], layout.channels
    return CheckpointError(
        f"{checkpoint.path} has a classifier for {inputs:,} features, and {channels} "
        "channels before it.",
        reason="That is neither their mean, nor the triangle or the whole of their covariance.",
        hint="Heads that were written after the published ones cannot be rebuilt from a file.",
    )


def _damaged(
    checkpoint: ForeignCheckpoint, nearest: str, difference: object
) -> UnrecognizedCheckpointError:
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} has the head of a published covariance network on a body that "
        "torchvision does not have.",
        hint=f"Compared with torchvision's {nearest}, under its names:\n{difference}\n"
        "Was the file cut? A body that its authors changed cannot be rebuilt.",
    )


def _not_of(checkpoint: ForeignCheckpoint, arch: str, reason: str) -> UnrecognizedCheckpointError:
    return UnrecognizedCheckpointError(
        f"{checkpoint.path} does not fit {arch}.",
        reason=reason,
        hint="Leave --arch out to see what it is: covtool inspect.",
    )
