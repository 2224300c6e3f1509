"""Everything that is known about a checkpoint or a name without changing it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from covtool.backbones.convolutions import ConvSite, find_convolutions
from covtool.backbones.fingerprint import is_relevant
from covtool.backbones.names import HUB_PREFIX
from covtool.backbones.sites import Sites, find_sites
from covtool.backbones.tracing import Tracer, traced_once
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.hub import own_file
from covtool.checkpoints.identification import Identification
from covtool.checkpoints.key_report import group_keys
from covtool.checkpoints.matching import Candidate
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.refusals import UnknownArchitectureError
from covtool.errors import SurgeryError
from covtool.ops.decorrelation import correlation, smallest_eigenvalue_ratio
from covtool.progress import Track, silent
from covtool.specs import Recipe

LARGEST_GRAM = 4096  # rows of a weight whose Gram matrix is decomposed
_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSummary:
    """The tensors of a checkpoint or a model, counted.

    Attributes:
        count: Number of them.
        parameters: Numbers in them, without running statistics and counters.
        dtypes: Number of tensors of each kind.
        non_finite: Names of those with an infinite value, or one that is not a number.
    """

    count: int
    parameters: int
    dtypes: dict[str, int]
    non_finite: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCorrelation:
    """How correlated the weight vectors of a linear layer are.

    Attributes:
        name: Path of the layer.
        in_features: Length of the vectors.
        out_features: Number of weight vectors, k.
        correlation: S(W), between 1/k and 1 for orthogonal vectors; None where a weight is not
            finite.
        smallest_eigenvalue_ratio: Smallest eigenvalue of the Gram matrix, over its smallest
            diagonal element; None as well where there are too many vectors.
    """

    name: str
    in_features: int
    out_features: int
    correlation: float | None
    smallest_eigenvalue_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known about a source.

    Attributes:
        source: The path or name.
        format: Format of the file; ``name`` for a name.
        container: Entries on the way to the tensors.
        prefix: Prefix that was removed from their names.
        is_ema: Whether they are a moving average.
        tensors: Counted.
        ignored: Entries that are not used, in groups.
        others: Other entries at the top of the file.
        match: Kind of the candidates' match; None for a name and a covtool file.
        candidates: Architectures that fit, or that are near.
        classifier: Module whose outputs are the classes.
        num_classes: Its outputs.
        in_channels: Channels of the images.
        recipe: Recipe of the model; None where it is not recognized.
        history: Steps that made the model, in words, oldest first.
        sites: Places that can be operated on; None where there are none.
        not_operable: Reason why it cannot be operated on.
        notes: Choices, in sentences.
        convolutions: Convolutions that the model runs, for `convert --conv`.
        correlations: Correlation of the weight vectors of each linear layer, if asked for.
    """

    source: str
    format: str
    container: str | None
    prefix: str
    is_ema: bool
    tensors: TensorSummary
    ignored: tuple[str, ...]
    others: Mapping[str, str]
    match: str | None
    candidates: tuple[Candidate, ...]
    classifier: str | None
    num_classes: int | None
    in_channels: int | None
    recipe: Recipe | None
    sites: Sites | None
    not_operable: str | None
    notes: tuple[str, ...]
    convolutions: tuple[ConvSite, ...] = ()
    correlations: tuple[LayerCorrelation, ...] = ()
    history: tuple[str, ...] = ()


def inspect_source(
    source: str,
    *,
    arch: str | None = None,
    weights: str = "auto",
    classifier_layer: str | None = None,
    correlations: bool = False,
    track: Track = silent,
) -> tuple[Inspection, Identification | None]:
    """Look at a file or a name. Weights of a name are not fetched; covtool's own files are.

    Args:
        source: File or name, as `covtool.open_model` takes it.
        arch: Architecture, where the tensors leave a choice.
        weights: ``auto``, ``ema`` or ``raw``, or the name of a set of weights.
        classifier_layer: Classifier of a file with several linear layers that may be it.
        correlations: Measure how correlated the weight vectors of each linear layer are.
        track: Shows the progress, should unknown architectures have to be learned.

    Returns:
        The inspection, and how the file was recognized; an unrecognized file is no error here.

    Raises:
        CheckpointError: The source cannot be read, or is not of `arch`.
    """
    is_own = source.startswith(HUB_PREFIX) and own_file(source) is not None
    try:
        opened = open_model(
            source,
            arch=arch,
            weights=weights,
            classifier_layer=classifier_layer,
            from_scratch=not is_own,
            finite=False,
            track=track,
        )
    except UnknownArchitectureError as problem:
        found = _unrecognized(source, problem.identification)
        state = problem.identification.checkpoint.state if correlations else {}
        return replace(found, correlations=layer_correlations(state)), problem.identification
    state = _own_state(opened) if correlations else {}
    found = replace(_recognized(source, opened), correlations=layer_correlations(state))
    return found, opened.identification


def layer_correlations(state: Mapping[str, Tensor]) -> tuple[LayerCorrelation, ...]:
    """S(W) of every matrix among the weights of a state dict, in its order."""
    return tuple(
        LayerCorrelation(
            name=name.removesuffix(".weight"),
            in_features=tensor.shape[1],
            out_features=len(tensor),
            correlation=_finite(correlation(tensor)),
            smallest_eigenvalue_ratio=_finite(smallest_eigenvalue_ratio(tensor))
            if len(tensor) <= LARGEST_GRAM
            else None,
        )
        for name, tensor in state.items()
        if name.endswith("weight") and tensor.ndim == 2 and tensor.is_floating_point()
    )


def _finite(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None


def _own_state(opened: OpenedModel) -> Mapping[str, Tensor]:
    return opened.checkpoint.state if opened.checkpoint else opened.model.state_dict()


def _unrecognized(source: str, identification: Identification) -> Inspection:
    return Inspection(
        source=source,
        **_of_file(identification.checkpoint),
        match=identification.match,
        candidates=identification.candidates,
        classifier=None,
        num_classes=None,
        in_channels=None,
        recipe=None,
        sites=None,
        not_operable="Its architecture is not known.",
        notes=identification.checkpoint.notes,
    )


def _recognized(source: str, opened: OpenedModel) -> Inspection:
    recipe, found, trace = opened.recipe, opened.identification, traced_once()
    sites, reason = _sites(opened.model, recipe, trace)
    has_classifier = found is None or found.num_classes is not None
    classifier = sites.classifier if sites else (found.classifier if found else None)
    file = _of_file(opened.checkpoint) if opened.checkpoint else _of_model(opened.model)
    return Inspection(
        source=source,
        **file,
        match=found.match if found else None,
        candidates=found.candidates if found else (),
        classifier=classifier if has_classifier else None,
        num_classes=recipe.num_classes if has_classifier else None,
        in_channels=recipe.input.channels,
        recipe=recipe,
        sites=sites,
        not_operable=reason,
        notes=opened.notes,
        history=recipe.provenance.history,
        convolutions=_convolutions(opened.model, recipe, trace),
    )


def _of_file(checkpoint: ForeignCheckpoint) -> dict[str, Any]:
    return {
        "format": checkpoint.format,
        "container": checkpoint.container,
        "prefix": checkpoint.prefix,
        "is_ema": checkpoint.is_ema,
        "tensors": summarize(checkpoint.state),
        "ignored": tuple(group for group, _ in group_keys(checkpoint.ignored)),
        "others": checkpoint.others,
    }


def _of_model(model: nn.Module) -> dict[str, Any]:
    return {
        "format": "name",
        "container": None,
        "prefix": "",
        "is_ema": False,
        "tensors": summarize(model.state_dict()),
        "ignored": (),
        "others": {},
    }


def summarize(state: Mapping[str, Tensor]) -> TensorSummary:
    """Count tensors and look for values that are not finite."""
    learned = [t for n, t in state.items() if is_relevant(n) and not n.endswith(_STATISTICS)]
    kinds = Counter(str(t.dtype).removeprefix("torch.") for t in state.values())
    return TensorSummary(
        count=len(state),
        parameters=sum(t.numel() for t in learned),
        dtypes=dict(kinds.most_common()),
        non_finite=tuple(n for n, t in state.items() if not _is_finite(t)),
    )


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _sites(model: nn.Module, recipe: Recipe, trace: Tracer) -> tuple[Sites | None, str | None]:
    try:
        return find_sites(model, recipe.input.size, recipe.input.channels, trace=trace), None
    except SurgeryError as problem:
        return None, problem.message


def _convolutions(model: nn.Module, recipe: Recipe, trace: Tracer) -> tuple[ConvSite, ...]:
    try:
        return find_convolutions(model, recipe.input.size, recipe.input.channels, trace=trace)
    except SurgeryError:
        return ()
