"""Fine-tuning from a request: start a run, resume one, or only try what it would do."""

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from covtool.checkpoints.file_kinds import stem_of
from covtool.checkpoints.opening import OpenedModel, open_model
from covtool.data.checking import check_images
from covtool.data.layouts import DataLayout, Sample, require_trainable, scan
from covtool.errors import ArgumentError, DataError
from covtool.specs import ConvolutionSpec, FinetuneRequest, Recipe
from covtool.surgery.rebuild import rebuild
from covtool.training.assembly import Parts, assemble
from covtool.training.fit import Run, best_epoch, fit
from covtool.training.head import find_head, fit_classes_
from covtool.training.observer import Observer, SilentObserver, TrainingPlan
from covtool.training.parameter_groups import ParameterGroup
from covtool.training.run_directory import ARGUMENTS, RunDirectory
from covtool.training.state import RunState, capture, restore_
from covtool.training.surroundings import describe_environment, peak_memory_mib
from covtool.training.update import accumulate_gradient_

COMMAND = "finetune"
MAY_CHANGE = ("epochs", "device", "workers", "checkpoint_hist")
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """What a run came to.

    Attributes:
        directory: Of the run.
        epochs: Trained in all.
        metric: What the best epoch is best in, in timm's word.
        best_epoch: Counted from 1.
        best: The metric then: percent, or nats for a loss.
        last: The metric after the last epoch.
        seconds: Of training and evaluation, over all parts of a resumed run.
        exported: Covtool files, under ``best`` and ``last``.
    """

    directory: Path
    epochs: int
    metric: str
    best_epoch: int
    best: float
    last: float
    seconds: float
    exported: dict[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    """What a run would be, and what its first batch did.

    Attributes:
        plan: The run, without a directory.
        loss: Of the first update's images, in nats.
        peak_memory_mib: Of the device for cuda, else of the process; None if unknown.
        seconds: For forward and backward of one update.
    """

    plan: TrainingPlan
    loss: float
    peak_memory_mib: float | None
    seconds: float

    @property
    def groups(self) -> tuple[ParameterGroup, ...]:
        """Parameters, with learning rate and weight decay."""
        return self.plan.groups


def finetune(request: FinetuneRequest, *, observer: Observer | None = None) -> FinetuneResult:
    """Train a model on labeled images and keep the best and the last epoch.

    The generators of `random`, numpy and torch are seeded. Everything is written to a new run
    directory; see `covtool.training.run_directory`.

    Args:
        request: Model, data, and every setting.
        observer: Who is told how it goes.

    Raises:
        ArgumentError: Settings that contradict each other or do not exist.
        CheckpointError: The model cannot be read or recognized.
        DataError: The data cannot be used, or has other classes than the model.
        NonFiniteError: Training diverged.
        InterruptedRunError: A signal ended the run; its state was saved.
    """
    observer = observer or SilentObserver()
    request = _resolved(request)
    layout = _layout(request)
    opened = _open(request, observer)
    request = _with_statistics(request, opened.recipe)
    parts = _build(opened, request, layout, observer)
    name = request.experiment or stem_of(request.model)
    directory = RunDirectory.create(Path(request.output), COMMAND, name)
    _describe(directory, request, parts)
    run = _run(parts, RunState(), directory, layout, observer)
    directory.save_state(capture(parts, run.state))
    return _finish(run)


def resume_finetune(
    directory: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> FinetuneResult:
    """Go on with a run from its last saved state, with the arguments that it was started with.

    Learning rate and optimizer continue where they were. The original model file is not needed.

    Args:
        directory: Of the run.
        changes: Arguments that somebody gives again, by option name. Only those in `MAY_CHANGE`
            may differ from the run's own.
        observer: Who is told how it goes.

    Raises:
        ArgumentError: There is no such run, it is through, or an argument differs.
        CheckpointError: The state cannot be read.
        CovtoolError: As `finetune`.
    """
    observer = observer or SilentObserver()
    run_directory = RunDirectory.open(directory)
    request, notes = _continued(run_directory.read_yaml(ARGUMENTS), changes or {})
    layout = _layout(request)
    recipe = _recipe(run_directory)
    if recipe.class_names != layout.class_names:
        raise DataError.classes_differ(recipe.class_names or (), layout.class_names)
    for note in notes:
        observer.on_note(note)
    _seed(request.training.seed)
    parts = _assemble(rebuild(recipe), recipe, request, layout, observer)
    state = restore_(parts, run_directory.checkpoint("last"))
    if state.epoch >= request.training.epochs:
        raise ArgumentError(
            f"The run in {directory} is through: {state.epoch} epochs.",
            hint=f"Add --epochs {2 * state.epoch} to train longer.",
        )
    run_directory.forget_after(epochs=state.epoch, updates=state.updates)
    run_directory.write_yaml(ARGUMENTS, request.to_arguments())
    return _finish(_run(parts, state, run_directory, layout, observer))


def plan_finetune(request: FinetuneRequest, *, observer: Observer | None = None) -> DryRunResult:
    """Build everything, run one update's images forward and backward, write nothing.

    Raises:
        CovtoolError: As `finetune`.
    """
    observer = observer or SilentObserver()
    request = _resolved(request)
    layout = _layout(request)
    opened = _open(request, observer)
    request = _with_statistics(request, opened.recipe)
    parts = _build(opened, request, layout, observer)
    plan = _plan(parts, RunState(), None)
    parts.begin_epoch(0)
    batches = iter(parts.training_batches)
    count = min(request.training.grad_accum_steps, len(parts.training_batches))
    update = [next(batches) for _ in range(count)]
    start = time.perf_counter()
    loss, _ = accumulate_gradient_(parts, update, step=1)
    memory = peak_memory_mib(parts.device)
    return DryRunResult(
        plan=plan, loss=loss, peak_memory_mib=memory, seconds=time.perf_counter() - start
    )


def _resolved(request: FinetuneRequest) -> FinetuneRequest:
    """The request with its defaults worked out and its paths absolute."""
    request.training.refuse_nonsense()
    model = Path(request.model)
    return request.model_copy(
        update={
            "model": str(model.resolve()) if model.exists() else request.model,
            "data": str(Path(request.data).resolve()),
            "training": request.training.resolved(),
        }
    )


def _layout(request: FinetuneRequest) -> DataLayout:
    training = request.training
    layout = scan(Path(request.data), val_fraction=training.val_fraction, seed=training.seed)
    require_trainable(layout)
    if training.eval_metric == "top5" and len(layout.class_names) < 6:
        raise ArgumentError(
            f"--eval-metric top5 says nothing with {len(layout.class_names)} classes."
        )
    return layout


def _with_statistics(request: FinetuneRequest, recipe: Recipe) -> FinetuneRequest:
    """The request with `bn_stats` worked out: statistics that fit no features are trained."""
    operators = [o for o in recipe.operations if isinstance(o, ConvolutionSpec)]
    trained = any(line.startswith("finetune") for line in recipe.provenance.history)
    fresh = request.from_scratch or any(
        not (trained or spec.calibrated or spec.is_convolution) for spec in operators
    )
    training = request.training.with_statistics("train" if fresh else "keep")
    return request.model_copy(update={"training": training})


def _open(request: FinetuneRequest, observer: Observer) -> OpenedModel:
    _seed(request.training.seed)  # before weights that start at random
    opened = open_model(
        request.model,
        arch=request.arch,
        iterations=request.iterations,
        weights=request.weights,
        pretrained=not request.from_scratch,
        input_overrides=request.images.changes(),
        track=observer.track,
    )
    for note in opened.notes:
        observer.on_note(note)
    return opened


def _build(
    opened: OpenedModel, request: FinetuneRequest, layout: DataLayout, observer: Observer
) -> Parts:
    head = find_head(opened.model, opened.recipe.input)
    recipe, note = fit_classes_(
        opened, head, layout.class_names, new_classifier=request.new_classifier
    )
    if note:
        observer.on_note(note)
    return _assemble(opened.model, recipe, request, layout, observer)


def _assemble(
    model: nn.Module,
    recipe: Recipe,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
) -> Parts:
    samples = tuple(
        _readable(layout, split, request.training.on_bad_image, observer)
        for split in ("train", "val")
    )
    return assemble(model, recipe, find_head(model, recipe.input), samples, request)


def _readable(
    layout: DataLayout, split: str, on_bad_image: str, observer: Observer
) -> Sequence[Sample]:
    checked = check_images(layout.samples(split), on_bad_image=on_bad_image, track=observer.track)
    if checked.bad:
        shown = "; ".join(f"{path}: {reason}" for path, reason in checked.bad[:SHOWN])
        more = f"; and {len(checked.bad) - SHOWN} more" if len(checked.bad) > SHOWN else ""
        observer.on_note(f"Left out {len(checked.bad)} unreadable images of {split}: {shown}{more}")
    return checked.good


def _continued(
    saved: dict[str, Any], changes: Mapping[str, Any]
) -> tuple[FinetuneRequest, list[str]]:
    """The request of a resumed run, and a note for each argument that changes."""
    request = _resolved(FinetuneRequest.from_arguments({**saved, **changes}))
    notes = []
    for name, value in request.to_arguments().items():
        if name not in changes or value == saved.get(name):
            continue
        flag = "--" + name.replace("_", "-")
        if name not in MAY_CHANGE:
            raise ArgumentError(
                f"{flag} is {value} now, but the run was started with {saved.get(name)}.",
                hint=f"Leave it out, or start a new run. What may change: {', '.join(MAY_CHANGE)}.",
            )
        notes.append(f"{flag} changes from {saved.get(name)} to {value}.")
    return request, notes


def _recipe(directory: RunDirectory) -> Recipe:
    try:
        return Recipe.model_validate(directory.read_yaml("recipe.yaml"))
    except ValidationError as problem:
        raise ArgumentError(
            f"{directory.path / 'recipe.yaml'} is not a recipe.",
            reason=problem.errors()[0]["msg"],
        ) from problem


def _describe(directory: RunDirectory, request: FinetuneRequest, parts: Parts) -> None:
    directory.write_yaml(ARGUMENTS, request.to_arguments())
    directory.write_yaml("recipe.yaml", parts.recipe.model_dump(mode="json"))
    directory.write_json("env.json", describe_environment(parts.device))


def _run(
    parts: Parts,
    state: RunState,
    directory: RunDirectory,
    layout: DataLayout,
    observer: Observer,
) -> Run:
    data = (layout.name, layout.called["val"])
    observer.on_start(_plan(parts, state, directory.path))
    return Run(parts=parts, state=state, directory=directory, data=data, observer=observer)


def _plan(parts: Parts, state: RunState, directory: Path | None) -> TrainingPlan:
    return TrainingPlan(
        directory=directory,
        device=str(parts.device),
        epochs=parts.training.epochs,
        first_epoch=state.epoch + 1,
        updates_per_epoch=parts.updates_per_epoch,
        training_images=len(parts.training_batches.dataset),
        validation_images=len(parts.validation_batches.dataset),
        num_classes=parts.recipe.num_classes,
        groups=parts.groups,
    )


def _finish(run: Run) -> FinetuneResult:
    fit(run)
    state, metric = run.state, run.parts.training.eval_metric
    sign = -1 if metric == "loss" else 1
    result = FinetuneResult(
        directory=run.directory.path,
        epochs=state.epoch,
        metric=metric,
        best_epoch=best_epoch(run),
        best=sign * max(state.values),
        last=sign * state.values[-1],
        seconds=state.seconds,
        exported={name: run.directory.exported(name) for name in ("best", "last")},
    )
    run.directory.write_json("result.json", json.loads(json.dumps(asdict(result), default=str)))
    return result


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
