"""The loop over epochs: train, evaluate, save."""

import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from signal import Signals

from covtool.errors import InterruptedRunError
from covtool.surgery.eigenlayer import eigen_classifier
from covtool.training.loop.bad_images import note_bad_images, watch_images
from covtool.training.loop.exporting import export
from covtool.training.loop.interruption import Interruption, StopHere, interruptible
from covtool.training.loop.run_errors import add_resume_hint
from covtool.training.loop.saving import given_up, keep_epoch, save, save_on_the_way
from covtool.training.loop.validate import validate
from covtool.training.parts.acceleration import tf32
from covtool.training.parts.assembly import Parts
from covtool.training.parts.head_schedule import label
from covtool.training.run.records import (
    EpochRecord,
    EpochResult,
    PhaseRecord,
    StepRecord,
    is_chance,
)
from covtool.training.run.run import Run
from covtool.training.run.stopping import explain_end, stops_early
from covtool.training.step.guarded_update import guarded_update_
from covtool.training.step.nonfinite_policy import require_finite_
from covtool.training.step.update import Batch, UpdateResult, centralized_norm


def fit(run: Run) -> None:
    """Train until the last epoch is done, from wherever the state is.

    Raises:
        DataError: An image cannot be read any more; the state has been saved.
        NonFiniteError: The loss, the gradient or a weight is not finite any more; the last saved
            state is good.
        OutOfMemoryError: A batch does not fit into memory; the same holds.
        WorkerError: A process that loads images died; the same holds.
        InterruptedRunError: SIGINT, SIGTERM or SIGHUP arrived; the state has been saved.
    """
    watch_images(run)
    with tf32(run.parts.training.tf32), add_resume_hint(run), interruptible() as interruption:
        _all_epochs(run, interruption)


def _all_epochs(run: Run, interruption: Interruption) -> None:
    try:
        while not run.is_over:
            _one_epoch(run, interruption)
    except StopHere as stop:
        # After the loop, where the last update is complete and its batch is let go of.
        raise _interrupted(run, stop.signal_number) from None


def evaluate_initial(run: Run) -> None:
    """Measure a model that is to be trained in SVDNet's phases, for the first row of summary.csv.

    Each phase is judged by what it changes; the first one has nothing else to be compared with.

    Raises:
        CovtoolError: As `validate`.
    """
    parts = run.parts
    if not parts.phases.shown:
        return
    start = time.perf_counter()
    with tf32(parts.training.tf32):
        result = validate(run, run.observer.track)
    record = EpochRecord(
        epoch=0,
        epochs=parts.training.epochs,
        train_loss=None,
        figures=result.figures,
        lr=None,
        is_best=False,
        seconds=time.perf_counter() - start,
        head="" if parts.heads is None else label(parts.heads.own),
        phase=_phase(parts, "start", with_spectrum=True),
    )
    run.directory.append_epoch(record)
    run.observer.on_epoch(record)


def _one_epoch(run: Run, interruption: Interruption) -> None:
    parts, state, start = run.parts, run.state, time.perf_counter()
    _train(run, interruption)
    result = _evaluate(run, interruption)
    # No images, where every update of the epoch was skipped as not finite.
    train_loss = state.loss_sum / state.images if state.images else None
    state.values.append(None if result is None else result.value(parts.training.eval_metric))
    known = {} if result is None else result.figures
    state.chance.append(is_chance(known, parts.recipe.num_classes))
    note_bad_images(run)
    replaced, state.replaced = state.replaced, 0
    ends = parts.phases.ended(state.epoch + 1) is not None
    phase = _phase(parts, parts.phases.at(state.epoch).label, with_spectrum=ends)
    if phase is not None:
        state.correlations.append(phase.correlation)
    state.epoch, state.step, state.loss_sum, state.images = state.epoch + 1, 0, 0.0, 0
    state.seconds += time.perf_counter() - start
    record = EpochRecord(
        epoch=state.epoch,
        epochs=parts.training.epochs,
        train_loss=train_loss,
        figures=known,
        lr=parts.schedule.last_lr(state.updates),
        replaced=replaced,
        is_best=state.best_epoch == state.epoch,
        is_chance=state.chance[-1],
        head="" if parts.heads is None else label(parts.heads.at(state.epoch - 1)),
        phase=phase,
        seconds=time.perf_counter() - start,
    )
    # The row first, the state last: what a killed run has written beyond its state is cut off.
    run.directory.append_epoch(record)
    keep_epoch(run, result)
    run.observer.on_epoch(record)
    if stops_early(state, parts.training, parts.phases):
        reason = explain_end(state, parts.training, parts.phases)
        run.observer.on_note(f"The run ends after epoch {state.epoch}: {reason}")
    interruption.check_all(parts.processes)


def _phase(parts: Parts, name: str, *, with_spectrum: bool) -> PhaseRecord | None:
    """Return what the logs of a run in named phases have of its Eigenlayer."""
    if not parts.phases.shown:
        return None
    eigenlayer = eigen_classifier(parts.evaluated).eigenlayer
    return PhaseRecord(
        name=name,
        correlation=eigenlayer.correlation,
        smallest_eigenvalue_ratio=eigenlayer.smallest_eigenvalue_ratio,
        spectrum=eigenlayer.spectrum if with_spectrum else (),
    )


def _train(run: Run, interruption: Interruption) -> None:
    parts, state = run.parts, run.state
    pace = _Pace(run)
    parts.processes.doing = f"update {state.updates + 1}"
    for batches in interruption.in_step(parts.processes, _remaining(run)):
        lr = parts.schedule.lr  # that of this update: afterwards it is the next one's
        result = guarded_update_(run, batches)
        state.step, state.updates = state.step + 1, state.updates + 1
        parts.processes.doing = f"update {state.updates + 1}"
        if result.problem is None:
            state.loss_sum += result.loss * result.images
            state.images += result.images
            record = pace.record(result, lr)
            run.directory.append_step(record)
            run.observer.on_step(record)
        if parts.processes.world == 1:  # several do so at the end of the epoch, and when they save
            note_bad_images(run)
        if run.is_save_due:
            require_finite_(run)  # else the state would take the place of a good one
            save_on_the_way(run)


def _remaining(run: Run) -> Iterator[tuple[Batch, ...]]:
    """Yield the batches of the epoch's updates that are yet to be done."""
    parts, state = run.parts, run.state
    if state.entered <= state.epoch:  # once, also where the run is interrupted right after it
        parts.enter_epoch_(state.epoch)
        state.entered = state.epoch + 1
    parts.begin_epoch(state.epoch, step=state.step)
    # Not again where a run goes on in mid-epoch.
    for note in parts.notes(state.epoch) if state.step == 0 else ():
        run.observer.on_note(note)
    # Last of all: what comes before may have drawn numbers that the interrupted run did not draw.
    state.restore_generators()
    yield from _grouped(parts.training_batches, parts.training.grad_accum_steps)


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    remaining = iter(batches)
    while group := tuple(islice(remaining, size)):
        yield group


class _Pace:
    """Speed of the updates, and the time that is left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first_update = run.state.updates
        self._start = self._last = time.perf_counter()

    def record(self, result: UpdateResult, lr: float) -> StepRecord:
        parts, state, now = self._run.parts, self._run.state, time.perf_counter()
        seconds, self._last = now - self._last, now
        total = parts.training.epochs * parts.updates_per_epoch - state.schedule_offset
        # Over this part of a resumed run only: the machine may be another one.
        each = (now - self._start) / (state.updates - self._first_update)
        return StepRecord(
            epoch=state.epoch + 1,
            step=state.step,
            steps=parts.updates_per_epoch,
            update=state.updates,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            grad_norm_centralized=centralized_norm(parts, result.grad_norm),
            images_per_s=result.images / seconds,
            eta_s=each * (total - state.updates),
            losses=result.losses,
        )


def _evaluate(run: Run, interruption: Interruption) -> EpochResult | None:
    """Measure the model; None in the middle of a phase, which is judged at its end."""
    parts, state = run.parts, run.state
    require_finite_(run)
    if not parts.phases.is_judged_after(state.epoch):
        return None
    return validate(run, interruption.watching(run.observer.track))


def _export_last(run: Run) -> None:
    path, epochs = run.directory.exported("last"), run.state.epoch
    in_use = max(epochs + run.state.in_epoch - 1, 0)
    # Solving takes a pass over all images, and whoever interrupts does not wait for it.
    export(run.parts, path, data=run.data, epochs=epochs, epoch=in_use, result=None, solved=False)


def _interrupted(run: Run, number: int) -> InterruptedRunError:
    require_finite_(run)
    try:
        save(run)
        if not run.is_over:  # else the last model is there, with what was measured
            run.parts.processes.main(partial(_export_last, run))
    except OSError as problem:
        raise given_up(run, problem) from problem
    return InterruptedRunError(
        f"Interrupted by {Signals(number).name} after step {run.state.updates}; "
        "the state was saved.",
        signal_number=number,
        hint=f"Go on with: {run.resuming}",
    )
