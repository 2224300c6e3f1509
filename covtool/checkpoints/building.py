"""Recognized tensors become a model that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.backbones.create import create_model, default_pooling
from covtool.backbones.fingerprint import is_relevant
from covtool.backbones.model_size import num_bytes, require_room
from covtool.backbones.weights import load_tensors_
from covtool.checkpoints.auxiliary_heads import input_arguments
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.key_report import compare_keys, group_keys
from covtool.checkpoints.matching import RGB, Candidate
from covtool.errors import ArgumentError, CheckpointError, UnrecognizedCheckpointError
from covtool.printable import printable
from covtool.specs import BaseSpec

DEFAULT_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """A model with the weights of a checkpoint.

    Attributes:
        model: Network in eval mode, float32.
        base: Its architecture.
        num_classes: Outputs of its classifier.
        fresh_classifier: Whether the classifier is new, with random weights.
        notes: Decisions, in sentences.
    """

    model: nn.Module
    base: BaseSpec
    num_classes: int
    fresh_classifier: bool
    notes: tuple[str, ...]


def build(
    checkpoint: ForeignCheckpoint, candidate: Candidate, *, num_classes: int | None = None
) -> BuiltModel:
    """Build a candidate's architecture and load the checkpoint's tensors into it, every one.

    Args:
        checkpoint: Result of `covtool.checkpoints.identify`, with the fitting prefix.
        candidate: Architecture with a match of ``names`` or ``order``.
        num_classes: Outputs of the classifier. Another number than the checkpoint's makes a new
            classifier; None keeps the checkpoint's.

    Raises:
        UnrecognizedCheckpointError: The installed library builds the architecture differently.
        CheckpointError: The architecture cannot take the number of input channels, or what the
            file says of it; or it is larger than the limit of `covtool.model_limit`.
    """
    classes = num_classes or candidate.num_classes or DEFAULT_CLASSES
    fresh = classes != candidate.num_classes
    # Before the model is built: tensors are mapped until now and take memory only then.
    require_room(f"The model in {checkpoint.path}", num_bytes(checkpoint.state.values()))
    try:
        base, pooled = _with_stated_pooling(_base(checkpoint, candidate), checkpoint, candidate)
        base, images_note = input_arguments(base, checkpoint)
        # Tensors of an architecture as it is are those of the file, which were counted.
        model = create_model(base, num_classes=classes, counted=not (base.arguments or fresh))
    except ArgumentError as problem:
        raise CheckpointError(
            f"{checkpoint.path} cannot be built as it says.",
            reason=problem.message,
            hint=problem.reason,
        ) from problem
    heads = tuple(f"{name}." for name in candidate.architecture.classifiers) if fresh else ()
    tensors = _renamed(checkpoint, candidate, model)
    load_exactly_(model, tensors, heads, checkpoint)
    notes = [_order_note(candidate), *candidate.notes, pooled]
    notes += [_classifier_note(candidate, classes) if fresh else None]
    notes += [images_note, precision_note(tensors), ignored_note(checkpoint)]
    return BuiltModel(
        model=model,
        base=base,
        num_classes=classes,
        fresh_classifier=fresh,
        notes=tuple(filter(None, notes)),
    )


def _base(checkpoint: ForeignCheckpoint, candidate: Candidate) -> BaseSpec:
    architecture = candidate.architecture
    arguments = {**architecture.arguments, **candidate.arguments}
    # torchvision's constructors have no argument for input channels.
    if candidate.in_channels not in (None, RGB):
        if architecture.library != "timm":
            raise CheckpointError(
                f"{checkpoint.path} takes images of {candidate.in_channels} channels.",
                reason=f"torchvision builds {architecture.name} for {RGB} channels only.",
                hint="Choose one of timm's architectures with --arch; covtool inspect lists them.",
            )
        arguments["in_chans"] = candidate.in_channels
    return BaseSpec(library=architecture.library, name=architecture.name, arguments=arguments)


def _with_stated_pooling(
    base: BaseSpec, checkpoint: ForeignCheckpoint, candidate: Candidate
) -> tuple[BaseSpec, str | None]:
    """Return the architecture with the pooling that the file says, where that is not its own.

    A transformer whose tokens are averaged has its norm behind the pooling, unless the file has it
    before.
    """
    pooling = checkpoint.statements.arguments.get("global_pool")
    if pooling is None or base.library != "timm" or "global_pool" in base.arguments:
        return base, None
    if pooling == default_pooling(base):
        return base, None
    arguments = {**base.arguments, "global_pool": pooling}
    # With an average, timm moves the norm behind it by itself; this file has it in front.
    if candidate.match == "names" and any(n.startswith("norm.") for n in checkpoint.state):
        arguments["fc_norm"] = False
    note = f"The file says that its features are pooled by {pooling}."
    return base.model_copy(update={"arguments": arguments}), note


def _renamed(
    checkpoint: ForeignCheckpoint, candidate: Candidate, model: nn.Module
) -> dict[str, Tensor]:
    """Return the tensors that are used, under the architecture's names."""
    left = {*candidate.unused, *(own for own, _ in candidate.classifier)}
    kept = {n: t for n, t in checkpoint.state.items() if checkpoint.prefix + n not in left}
    tensors = _counted(kept, dict(candidate.renames)) if candidate.renames else kept
    own, file = model.state_dict(), {**checkpoint.tensors, **checkpoint.beside}
    for name, known in candidate.classifier:
        # A classifier stored as 1x1 convolution is a linear layer with two dimensions of size 1.
        tensors[known] = file[name].flatten(1) if file[name].dim() > 1 else file[name]
        if known in own and own[known].dim() > tensors[known].dim():  # a 1x1 convolution
            tensors[known] = tensors[known].reshape(*tensors[known].shape, 1, 1)
    # A linear layer without bias fits an architecture with one if the bias is 0.
    for _, known in candidate.classifier[:1]:
        bias = f"{known.removesuffix('.weight')}.bias"
        if bias in own:
            tensors.setdefault(bias, torch.zeros(candidate.num_classes))
    return tensors


def _counted(state: Mapping[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Rename tensors; counters, which are not matched, follow the weight beside them."""
    modules = {own.rpartition(".")[0]: new.rpartition(".")[0] for own, new in names.items()}
    for name in state:
        module, _, leaf = name.rpartition(".")
        if name not in names and module in modules:
            names[name] = f"{modules[module]}.{leaf}"
    return {names[name]: tensor for name, tensor in state.items() if name in names}


def load_exactly_(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    fresh: tuple[str, ...],
    checkpoint: ForeignCheckpoint,
) -> None:
    """Copy the tensors into the model: all are used, and all of the model's are filled.

    Exceptions are the fresh classifier, and what is computed from the configuration.
    """
    own = model.state_dict()
    relevant = {n: t for n, t in tensors.items() if is_relevant(n) and not _below(n, fresh)}
    expected = {n: t.shape for n, t in own.items() if is_relevant(n) and not _below(n, fresh)}
    report = compare_keys(expected, {n: t.shape for n, t in relevant.items()})
    if report:
        raise UnrecognizedCheckpointError(
            f"{checkpoint.path} does not fit what it was recognized as.",
            reason="The installed library builds this architecture differently.",
            hint=f"{report}\nName another architecture with --arch.",
        )
    # num_batches_tracked is missing in old files, and its dtype differs between writers.
    counters = {
        n: t
        for n, t in tensors.items()
        if not is_relevant(n) and n in own and (t.shape, t.dtype) == (own[n].shape, own[n].dtype)
    }
    with torch.no_grad():
        load_tensors_(model, {**own, **counters, **relevant})


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return bool(prefixes) and name.startswith(prefixes)


def _order_note(candidate: Candidate) -> str | None:
    if candidate.match != "order":
        return None
    return (
        f"Recognized as {candidate.name} by the order of shapes; the names are other ones. "
        "--arch chooses another architecture."
    )


def _classifier_note(candidate: Candidate, classes: int) -> str:
    if candidate.doubted is not None:
        module, tensor = map(printable, candidate.doubted)
        return (
            f"{module} is not taken as the classifier: {tensor} may belong to what it computes "
            f"(--classifier-layer {module} takes it). The new one for {classes} classes is at "
            "random."
        )
    if candidate.num_classes is None:
        return f"The checkpoint has no classifier: a new one for {classes} classes, at random."
    return (
        f"The classifier for {candidate.num_classes} classes is replaced by a new one for "
        f"{classes}, at random."
    )


def precision_note(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the note that weights of another precision become float32; None without any."""
    kinds = {t.dtype for t in tensors.values() if t.is_floating_point()} - {torch.float32}
    if not kinds:
        return None
    words = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return f"Weights in {words} are loaded as float32."


def ignored_note(checkpoint: ForeignCheckpoint) -> str | None:
    """Return the note on what is not used of a file, in groups; None where all of it is."""
    if not checkpoint.ignored:
        return None
    groups = ", ".join(group for group, _ in group_keys(checkpoint.ignored))
    return f"Not used of the file: {groups} ({len(checkpoint.ignored)} in all)."
