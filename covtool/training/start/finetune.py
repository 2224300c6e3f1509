"""Fine-tuning from a request: start a run, resume one, or only try what it would do."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from covtool.data.datasets.layout import DataLayout
from covtool.errors import ArgumentError, NonFiniteError, SaveError
from covtool.processes import Processes, joined
from covtool.run_files import ARGUMENTS, RECIPE
from covtool.run_files.places import require_run_place
from covtool.specs import FinetuneRequest
from covtool.specs.optimization import AUTO
from covtool.training.loop.fit import evaluate_initial
from covtool.training.loop.saving import save
from covtool.training.parts.acceleration import tf32
from covtool.training.parts.assembly import Parts
from covtool.training.parts.parameter_groups import ParameterGroup
from covtool.training.parts.rate_choice import RangeTest
from covtool.training.run.directory import ENVIRONMENT, RunDirectory, directory_at
from covtool.training.run.environment import describe_environment, peak_memory_mib
from covtool.training.run.kept_notes import KeptNotes
from covtool.training.run.observer import Observer, TrainingPlan, observer_for
from covtool.training.run.run import Run
from covtool.training.run.state import RunState
from covtool.training.start.data_notes import DataNotes
from covtool.training.start.execute import FinetuneResult, plan_run, run_to_end, start_run
from covtool.training.start.find_rate import with_found_rate
from covtool.training.start.images import without_cache
from covtool.training.start.model_defaults import resolve_for_model
from covtool.training.start.prepare import (
    build_parts,
    gather,
    open_source,
    read_layout,
    resolve_defaults,
    run_name,
    seed_process,
)
from covtool.training.step.out_of_memory import within_memory
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import update_

Images = tuple[DataLayout, frozenset[Path] | None]
"""A data set, and the images of it that a run does not use; None where that is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    parts: Parts
    state: RunState
    observer: Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunResult:
    """The plan of a run, and measurements of its first update.

    Attributes:
        plan: Plan of the run, without a directory.
        loss: Mean loss of the first update's images, in nats.
        peak_memory_mib: Peak memory of the device for cuda, else of the process; None if unknown.
        seconds: Time for forward and backward of one update.
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
    directory; see `covtool.training.run.directory`. Under torchrun, several processes train
    together; the first one writes.

    Args:
        request: Model, data, and every setting.
        observer: Observer of the run, in the first process.

    Raises:
        ArgumentError: Settings that contradict each other or do not exist.
        CheckpointError: The model cannot be read or recognized.
        DataError: The data cannot be used, or has other classes than the model.
        NonFiniteError: Training diverged.
        InterruptedRunError: A signal ended the run; its state was saved.
        DeadlockError: One of several processes did not answer.
        LostProcessError: One of several processes is gone.
    """
    _require_single(request)
    with joined(timeout_s=request.processes.dist_timeout) as processes:
        request = resolve_defaults(request, processes)
        return train_from_start(request, None, observer_for(observer, processes), processes)


def _require_single(request: FinetuneRequest) -> None:
    if request.repeats.is_several:
        raise ArgumentError(
            "--seeds and --folds ask for several runs.",
            hint="covtool.training.repeat_finetune starts them all; with --fold, one is started.",
        )


def train_from_start(
    request: FinetuneRequest,
    directory: RunDirectory | None,
    observer: Observer,
    processes: Processes,
    *,
    images: Images | None = None,
    data_notes: DataNotes | None = None,
) -> FinetuneResult:
    """Train from the first update on.

    Args:
        request: Settings of the run, its defaults resolved.
        directory: Folder of a run that was killed before it was first saved, or one that was made
            for it; None for a new one.
        observer: Observer of the run.
        processes: Processes that train together.
        images: Images that this run was to have; None for what the data set holds.
        data_notes: Notes on the data set, of all runs on it; None for a run of its own.

    Raises:
        CovtoolError: As `finetune`.
    """
    # A run that was killed before it was first saved has some already, of its resumption.
    observer = kept = observer if isinstance(observer, KeptNotes) else KeptNotes(observer)
    is_new = directory is None
    if is_new:
        # Before minutes are spent on the model and the images.
        wanted = Path(request.output), request.command, request.experiment
        processes.main(lambda: require_run_place(*wanted))
    layout, left_out = images or (read_layout(request, observer), None)
    (data_notes or DataNotes()).give(layout, observer, processes)
    opened = open_source(request, observer, processes)
    request = resolve_for_model(request, opened.recipe, layout)
    material = gather(opened, request, layout, observer, processes, left_out=left_out)
    request, rates = with_found_rate(material, request, layout, observer, processes)
    parts = material.assembled(request, processes)
    if is_new:
        name = run_name(request, material)
        path = parts.processes.main(
            lambda: RunDirectory.create(Path(request.output), request.command, name).path
        )
        directory = directory_at(path, parts.processes)
    with ExitStack() as held:
        # Held until the run ends, not only while it begins: nothing else may resume it meanwhile.
        with _no_half_run(directory, request):
            held.enter_context(directory.in_use())
            _describe(directory, request, parts, layout, rates, is_new=is_new)
            run = _begun(parts, request, directory, layout, kept, rates)
        return run_to_end(run, kept)


def _begun(
    parts: Parts,
    request: FinetuneRequest,
    directory: RunDirectory,
    layout: DataLayout,
    kept: KeptNotes,
    rates: RangeTest | None,
) -> Run:
    """Return a run that is about to do its first update, and that is saved."""
    directory.forget_all()  # logs of a run that was killed before it was first saved
    kept.write_to(directory.append_note, anew=True)
    state = RunState(world=parts.processes.world)
    run = start_run(parts, state, directory, layout, kept, rates=rates)
    seed_process(request.training.seed, parts.processes)
    try:
        # Saved before the first update, so that whatever happens can be resumed from here.
        evaluate_initial(run)
        save(run)
    except BaseException:
        run.observer.on_end()
        raise
    return run


@contextmanager
def _no_half_run(directory: RunDirectory, request: FinetuneRequest) -> Iterator[None]:
    """Leave a run that can be started again from its arguments, or none.

    Raises:
        SaveError: Its first files cannot be written; says how to go on.
    """
    try:
        yield
    except BaseException as problem:
        directory.discard_unstarted()
        if isinstance(problem, SaveError) and directory.is_started:
            again = f"covtool {request.command} --resume {directory.path}"
            hint = f"Make room there, or let it be written to; then start it again with: {again}"
            raise problem.with_hint(hint) from problem
        raise


def plan_finetune(request: FinetuneRequest, *, observer: Observer | None = None) -> DryRunResult:
    """Build everything, run one update's images forward and backward, write nothing.

    Raises:
        CovtoolError: As `finetune`.
    """
    _require_single(request)
    with joined(timeout_s=request.processes.dist_timeout) as processes:
        request = resolve_defaults(request, processes)
        return _planned(request, observer_for(observer, processes), processes)


def _planned(request: FinetuneRequest, observer: Observer, processes: Processes) -> DryRunResult:
    if request.training.lr == AUTO:
        raise ArgumentError(
            f"--lr {AUTO} trains for many updates, and --dry-run for one.",
            hint="--find-lr in place of both makes the range test alone.",
        )
    layout = read_layout(request, observer)
    DataNotes().give(layout, observer, processes)
    opened = open_source(request, observer, processes)
    request = resolve_for_model(request, opened.recipe, layout)
    request = without_cache(layout, opened.recipe.input, request, observer, processes)
    parts = build_parts(opened, request, layout, observer, processes)
    plan = plan_run(parts, RunState(), None)
    # As the loop does it: a first phase may change weights, a schedule may freeze some.
    parts.enter_epoch_(0)
    parts.begin_epoch(0)
    batches = iter(parts.training_batches)
    count = min(request.training.grad_accum_steps, len(parts.training_batches))
    update = [next(batches) for _ in range(count)]
    start = time.perf_counter()
    trial = _Trial(parts=parts, state=RunState(), observer=observer)
    with tf32(request.training.tf32):
        gradient = partial(update_, parts, update, updates=0, only_gradient=True)
        result = within_memory(trial, gradient, Rewind(parts.model))
    if result.problem:
        raise NonFiniteError(f"{result.problem} at the first step.")
    memory = peak_memory_mib(parts.device)
    return DryRunResult(
        plan=plan, loss=result.loss, peak_memory_mib=memory, seconds=time.perf_counter() - start
    )


def _describe(
    directory: RunDirectory,
    request: FinetuneRequest,
    parts: Parts,
    layout: DataLayout,
    rates: RangeTest | None,
    *,
    is_new: bool,
) -> None:
    """Write the arguments, the recipe, the environment and the images of a run.

    Raises:
        SaveError: It cannot be written; nothing is left of a new run.
    """
    try:
        directory.write_yaml(ARGUMENTS, request.to_arguments())
        directory.write_yaml(RECIPE, parts.recipe.model_dump(mode="json"))
        directory.write_json(ENVIRONMENT, describe_environment(parts.device))
        directory.write_images(layout, parts.data.left_out)
        if rates is not None:
            directory.write_rates(rates.points)
    except SaveError:
        if is_new:
            directory.discard()
        raise
