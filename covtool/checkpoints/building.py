"""From recognized tensors to a model that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.backbones.create import create_model
from covtool.backbones.fingerprint import is_relevant
from covtool.backbones.weights import load_tensors_
from covtool.checkpoints.auxiliary_heads import input_arguments
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.key_report import compare_keys, group_keys
from covtool.checkpoints.matching import RGB, Candidate
from covtool.errors import CheckpointError, UnrecognizedCheckpointError
from covtool.specs import BaseSpec

DEFAULT_CLASSES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """A model with the weights of a checkpoint.

    Attributes:
        model: In eval mode, float32.
        base: Its architecture.
        num_classes: Outputs of its classifier.
        notes: What was decided, in sentences.
    """

    model: nn.Module
    base: BaseSpec
    num_classes: int
    notes: tuple[str, ...]


def build(
    checkpoint: ForeignCheckpoint, candidate: Candidate, *, num_classes: int | None = None
) -> BuiltModel:
    """Build a candidate's architecture and load the checkpoint's tensors into it, every one.

    Args:
        checkpoint: As `covtool.checkpoints.identify` returns it, with the fitting prefix.
        candidate: With a match of ``names`` or ``order``.
        num_classes: Of the classifier. Another number than the checkpoint's makes a new
            classifier; None keeps the checkpoint's.

    Raises:
        UnrecognizedCheckpointError: The installed library builds the architecture differently.
        CheckpointError: The architecture cannot take the number of input channels.
    """
    base, images_note = input_arguments(_base(checkpoint, candidate), checkpoint)
    classes = num_classes or candidate.num_classes or DEFAULT_CLASSES
    fresh = classes != candidate.num_classes
    model = create_model(base, num_classes=classes)
    heads = tuple(f"{name}." for name in candidate.architecture.classifiers) if fresh else ()
    tensors = _renamed(checkpoint.state, candidate)
    load_exactly_(model, tensors, heads, checkpoint)
    notes = [_order_note(candidate), _classifier_note(candidate, classes) if fresh else None]
    notes += [images_note, precision_note(tensors), ignored_note(checkpoint)]
    return BuiltModel(model=model, base=base, num_classes=classes, notes=tuple(filter(None, notes)))


def _base(checkpoint: ForeignCheckpoint, candidate: Candidate) -> BaseSpec:
    architecture = candidate.architecture
    arguments = dict(architecture.arguments)
    if candidate.in_channels not in (None, RGB):
        if architecture.library != "timm":
            raise CheckpointError(
                f"{checkpoint.path} takes images of {candidate.in_channels} channels.",
                reason=f"torchvision builds {architecture.name} for {RGB} channels only.",
                hint="Choose one of timm's architectures with --arch; covtool inspect lists them.",
            )
        arguments["in_chans"] = candidate.in_channels
    return BaseSpec(library=architecture.library, name=architecture.name, arguments=arguments)


def _renamed(state: Mapping[str, Tensor], candidate: Candidate) -> dict[str, Tensor]:
    """The tensors under the architecture's names; counters follow the weight beside them."""
    if not candidate.renames:
        return dict(state)
    names = dict(candidate.renames)
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
    counters = {
        n: t for n, t in tensors.items() if not is_relevant(n) and n in own and _fits(t, own[n])
    }
    with torch.no_grad():
        load_tensors_(model, {**own, **counters, **relevant})


def _fits(tensor: Tensor, own: Tensor) -> bool:
    return tensor.shape == own.shape and tensor.dtype == own.dtype


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
    if candidate.num_classes is None:
        return f"The checkpoint has no classifier: a new one for {classes} classes, at random."
    return (
        f"The classifier for {candidate.num_classes} classes is replaced by a new one for "
        f"{classes}, at random."
    )


def precision_note(tensors: Mapping[str, Tensor]) -> str | None:
    """That weights of another precision become float32; None where there are none."""
    kinds = {t.dtype for t in tensors.values() if t.is_floating_point()} - {torch.float32}
    if not kinds:
        return None
    words = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return f"Weights in {words} are loaded as float32."


def ignored_note(checkpoint: ForeignCheckpoint) -> str | None:
    """What is not used of a file, in groups; None where all of it is."""
    if not checkpoint.ignored:
        return None
    groups = ", ".join(group for group, _ in group_keys(checkpoint.ignored))
    return f"Not used of the file: {groups} ({len(checkpoint.ignored)} in all)."
