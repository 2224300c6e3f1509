"""A run from its state to its last epoch, and its result."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from covtool.data.datasets.layout import DataLayout
from covtool.errors import SaveError
from covtool.specs import FinetuneRequest
from covtool.training.loop.fit import fit
from covtool.training.loop.saving import given_up
from covtool.training.loop.scoring import finish_exports
from covtool.training.parts.assembly import Parts
from covtool.training.parts.rate_choice import RangeTest
from covtool.training.run.directory import MODELS, RESULT, RunDirectory
from covtool.training.run.environment import peak_memory_mib
from covtool.training.run.kept_notes import KeptNotes
from covtool.training.run.observer import Observer, TrainingPlan
from covtool.training.run.records import EVAL_METRICS
from covtool.training.run.run import Run
from covtool.training.run.state import RunState
from covtool.training.run.stopping import stops_early
from covtool.training.run.tensorboard import with_tensorboard
from covtool.training.run.trackers import with_trackers


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """The result of a run.

    Attributes:
        directory: Folder of the run.
        epochs: Number of epochs trained in all.
        metric: Metric that the best epoch is best in, in timm's word.
        best_epoch: The best epoch, counted from 1.
        best: The metric then: percent, or nats for a loss.
        last: The metric after the last epoch.
        stopped_early: Whether `--patience` ended it before its last epoch, or S(W) had settled.
        seconds: Time for training and evaluation, over all parts of a resumed run.
        exported: Covtool files, under ``best`` and ``last``.
        is_chance: Whether even the best epoch is no better than a guess.
        peak_memory_mib: Most memory used, of the main process or its CUDA device, since the run was
            last resumed; None where the system does not tell.
        notes: What it has noted, each sentence once, over all parts of a resumed run.
    """

    directory: Path
    epochs: int
    metric: str
    best_epoch: int
    best: float
    last: float
    stopped_early: bool
    seconds: float
    exported: dict[str, Path]
    is_chance: bool = False
    peak_memory_mib: float | None = None
    notes: tuple[str, ...] = ()


def start_run(
    parts: Parts,
    state: RunState,
    directory: RunDirectory,
    layout: DataLayout,
    observer: Observer,
    *,
    rates: RangeTest | None = None,
) -> Run:
    """Announce a run to its observer, and return it, about to train."""
    data = named(layout, parts.request)
    if parts.processes.is_main:  # others would write the same curves into the same folder
        observer = with_trackers(with_tensorboard(observer, parts.training), parts.training)
    observer.on_start(plan_run(parts, state, directory.path, rates=rates))
    return Run(parts=parts, state=state, directory=directory, data=data, observer=observer)


def named(layout: DataLayout, request: FinetuneRequest) -> tuple[str, str]:
    """Return the names of a data set and of its validation split."""
    repeats = request.repeats
    if repeats.fold is not None:  # not `val`: the data set may have such a split of its own
        return layout.name, f"train, fold {repeats.fold} of {repeats.folds}"
    return layout.name, layout.split_names["val"]


def plan_run(
    parts: Parts, state: RunState, directory: Path | None, *, rates: RangeTest | None = None
) -> TrainingPlan:
    """Plan what a run is going to do, for its observer."""
    return TrainingPlan(
        directory=directory,
        device=str(parts.device),
        epochs=parts.training.epochs,
        phases=parts.phases.shown,
        first_epoch=state.epoch + 1,
        first_update=state.updates + 1,
        updates_per_epoch=parts.updates_per_epoch,
        training_images=len(parts.training_batches.dataset),
        validation_images=len(parts.validation_batches.dataset),
        num_classes=parts.recipe.num_classes,
        groups=parts.groups,
        rates=rates,
    )


def run_to_end(run: Run, kept: KeptNotes) -> FinetuneResult:
    """Train to the last epoch and write result.json.

    Args:
        run: The run.
        kept: Notes on it, among them those that it is yet to give.

    Raises:
        CovtoolError: See `fit`.
        SaveError: Everything is done and saved, but result.json cannot be written.
    """
    try:
        fit(run)
        finish_exports(run)
    finally:
        run.observer.on_end()
    state, training = run.state, run.parts.training
    # Values are kept with more being better: a loss has its sign turned.
    _, sign = EVAL_METRICS[training.eval_metric]
    result = FinetuneResult(
        directory=run.directory.path,
        epochs=state.epoch,
        metric=training.eval_metric,
        best_epoch=state.best_epoch,
        best=sign * state.values[state.best_epoch - 1],
        last=sign * state.values[-1],
        stopped_early=stops_early(state, training, run.parts.phases),
        seconds=state.seconds,
        exported={name: run.directory.exported(name) for name in MODELS},
        is_chance=state.is_chance(state.best_epoch),
        peak_memory_mib=peak_memory_mib(run.parts.device),
        notes=kept.notes,
    )
    try:
        # By way of text: paths become strings, at whatever depth.
        run.directory.write_json(RESULT, json.loads(json.dumps(asdict(result), default=str)))
    except SaveError as problem:
        raise given_up(run, problem) from problem
    return result
