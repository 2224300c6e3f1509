"""The replay of a batch on which a run stopped: whether it fails again, and in which layer."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from covtool.backbones.device import resolve_device
from covtool.data.datasets.samples import Sample
from covtool.errors import CheckpointError, CovtoolError
from covtool.processes import current
from covtool.specs import LoadingSpec, ObjectiveSpec, ProcessSpec
from covtool.surgery.rebuild import rebuild
from covtool.training.parts.assembly import Parts, TrainingData, assemble
from covtool.training.parts.head import find_head
from covtool.training.run.environment import describe_environment
from covtool.training.run.random_state import set_generators
from covtool.training.run.state_content import ContentError, require_tensors
from covtool.training.step.diagnosis import diagnose_
from covtool.training.step.nonfinite import LayerFigures, TensorFigures, figures
from covtool.training.step.nonfinite_dump import Dump, damaged_dump, read_dump
from covtool.training.step.update import MicroBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFigures:
    """A batch of images in a few numbers, over its finite values.

    Attributes:
        images: Number of images.
        minimum: Smallest value, after normalization, like the rest.
        maximum: Largest value.
        mean: Mean of all values.
        std: Standard deviation of all values.
        non_finite: Number of values that are not finite.
    """

    images: int
    minimum: float
    maximum: float
    mean: float
    std: float
    non_finite: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """The outcome of a replay.

    Attributes:
        dump: The file.
        update: Update of the run, counted from 1.
        problem: Quantity that was not finite then.
        reason: Sentence that says where that started then.
        found: Quantity that is not finite now; None if all is well.
        found_reason: Sentence that says where that starts now; None if all is well.
        reproduced: Whether the same thing is not finite, from the same layer on.
        loss_then: Loss of the last batch; None where it was not finite.
        loss: The same now.
        precision: Number format of the forward pass.
        device: Device that it ran on now.
        then: Versions and device of the run.
        now: The same of this process.
        inputs: The images of the last batch.
        tensors: Weights and statistics before the update that are not finite, by name.
        outputs: Outputs of the layers, in the order in which they finished.
        gradients: Gradients of the loss by those outputs; empty after a non-finite loss.
    """

    dump: Path
    update: int
    problem: str
    reason: str
    found: str | None
    found_reason: str | None
    reproduced: bool
    loss_then: float | None
    loss: float | None
    precision: str
    device: str
    then: dict[str, object]
    now: dict[str, object]
    inputs: InputFigures
    tensors: dict[str, TensorFigures]
    outputs: tuple[LayerFigures, ...]
    gradients: tuple[LayerFigures, ...]


def replay(path: Path, *, device: str = "auto") -> ReplayResult:
    """Rebuild the model of a dump and do its update's passes again, without changing anything.

    On the kind of device that the run was on, with the same versions, the numbers are the same.
    Compiled models run uncompiled here.

    Args:
        path: File that `covtool finetune` wrote when it stopped.
        device: Device to run on.

    Raises:
        CheckpointError: The file cannot be read or is no such dump.
        ArgumentError: There is no such device.
    """
    dump = read_dump(path)
    resolve_device(device, current())
    with _of(path, "request"):
        parts = _assembled(dump, device)
    with _of(path, "batches"):
        found = diagnose_(parts, _recorded(parts, dump))
    numbers = {name: figures(t) for name, t in dump.model.items() if t.is_floating_point()}
    return ReplayResult(
        dump=path,
        update=dump.update,
        problem=dump.problem,
        reason=dump.reason,
        found=found.problem,
        found_reason=found.reason,
        reproduced=(found.problem, found.layer) == (dump.problem, dump.layer),
        loss_then=_finite(dump.loss),
        loss=_finite(found.loss),
        precision=_precision(parts),
        device=str(parts.device),
        then=dump.environment,
        now=describe_environment(parts.device),
        inputs=_input_figures(dump.batches[-1].images),
        tensors={name: of for name, of in numbers.items() if of.non_finite},
        outputs=tuple(found.watch.outputs),
        gradients=tuple(found.watch.gradients),
    )


@contextmanager
def _of(path: Path, what: str) -> Iterator[None]:
    """Raise one error for all that does not fit together in a dump.

    Raises:
        CheckpointError: Something does not.
    """
    try:
        yield
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except CovtoolError as problem:
        raise damaged_dump(path, f"{what}: {problem.message}") from problem
    except ContentError as problem:
        raise damaged_dump(path, str(problem)) from problem
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as problem:
        raise damaged_dump(path, f"{what}: {problem}") from problem


def _assembled(dump: Dump, device: str) -> Parts:
    """Return the run as it was before the update, but for its images: they are in the dump."""
    training = dump.request.training.model_copy(
        # Hooks on layers do not run in a compiled model.
        update={"device": device, "workers": 0, "torchcompile": False}
    )
    objective = dump.request.objective.model_copy(
        update={"sampler": ObjectiveSpec.model_fields["sampler"].default}
    )
    request = dump.request.model_copy(
        update={
            "training": training,
            "objective": objective,
            "loading": LoadingSpec(),
            "processes": ProcessSpec(),
        }
    )
    classes = range(dump.recipe.num_classes)
    never_read = tuple(Sample(Path("never-read"), label) for label in classes)
    data = TrainingData(root=Path(), training=never_read, validation=never_read)
    model = rebuild(dump.recipe)
    head = find_head(model, dump.recipe.input)
    parts = assemble(model, dump.recipe, head, data, request, current())
    require_tensors("model", dump.model, parts.model.state_dict())
    parts.model.load_state_dict(dump.model)
    if parts.scaler.is_enabled():
        # The scale decides which gradients overflow; the rest of its state does not matter here.
        parts.scaler.load_state_dict({**parts.scaler.state_dict(), "scale": dump.scale})
    parts.begin_epoch(dump.epoch)  # heads, frozen layers and modes are those of the epoch
    return parts


def _recorded(parts: Parts, dump: Dump) -> Iterator[MicroBatch]:
    """Yield the batches as the model saw them, each with the random numbers drawn for it."""
    layout = torch.channels_last if parts.training.channels_last else torch.preserve_format
    for number, batch in enumerate(dump.batches, start=1):
        set_generators(batch.generators)
        yield MicroBatch(
            images=batch.images.to(parts.device, memory_format=layout),
            targets=batch.targets.to(parts.device),
            share=batch.share,
            is_last=number == len(dump.batches),
        )


def _finite(number: float) -> float | None:
    """Return a number that JSON has; None for another."""
    return number if math.isfinite(number) else None


def _precision(parts: Parts) -> str:
    training = parts.training
    return f"{training.amp_dtype} (autocast)" if training.amp else "float32"


def _input_figures(images: Tensor) -> InputFigures:
    values = images.double().flatten()
    good = values[values.isfinite()]
    if not len(good):  # there is no smallest of no values
        good = torch.zeros(1, dtype=torch.float64)
    return InputFigures(
        images=len(images),
        minimum=float(good.min()),
        maximum=float(good.max()),
        mean=float(good.mean()),
        std=float(good.std(correction=0)),
        non_finite=len(values) - int(values.isfinite().sum()),
    )
