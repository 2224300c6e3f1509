"""The loop over epochs: train, evaluate, save."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from signal import Signals

from covtool.errors import InterruptedRunError, NonFiniteError
from covtool.evaluation.classification import ClassificationResult, evaluate_classification
from covtool.training.assembly import Parts
from covtool.training.bad_images import tell_of_bad_images, watch_images
from covtool.training.careful_update import careful_update_
from covtool.training.explaining import explained
from covtool.training.exporting import export
from covtool.training.head_schedule import label
from covtool.training.interruption import Interruption, StopHere, interruptible
from covtool.training.keeping import given_up, keep_epoch, save, save_on_the_way
from covtool.training.matmul_precision import tf32
from covtool.training.nonfinite import explain_nonfinite
from covtool.training.nonfinite_policy import require_finite_
from covtool.training.observer import EpochRecord, Observer, StepRecord
from covtool.training.out_of_memory import evaluate_within_memory
from covtool.training.run_directory import RunDirectory
from covtool.training.state import RunState
from covtool.training.stopping import explain_end, is_finished, stops_early
from covtool.training.update import Batch, UpdateResult, centralized_norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that is under way.

    Attributes:
        parts: What is trained, and with what.
        state: How far it is; changes.
        directory: Where it is written.
        data: Names of the data set and of its validation split.
        observer: Who is told.
    """

    parts: Parts
    state: RunState
    directory: RunDirectory
    data: tuple[str, str]
    observer: Observer

    @property
    def is_over(self) -> bool:
        """Whether no epoch is left."""
        return is_finished(self.state, self.parts.training)

    @property
    def is_save_due(self) -> bool:
        """Whether the state is to be written after this update."""
        every = self.parts.request.faults.save_every_steps
        return every > 0 and self.state.updates % every == 0


def fit(run: Run) -> None:
    """Train until the last epoch is done, from wherever the state is.

    Raises:
        DataError: An image cannot be read any more; the state has been saved.
        NonFiniteError: The loss, the gradient or a weight is not finite any more; the last saved
            state is good.
        OutOfMemoryError: A batch does not fit into memory; the same holds.
        WorkerError: A process that loads images died; the same holds.
        InterruptedRunError: SIGINT or SIGTERM arrived; the state has been saved.
    """
    watch_images(run)
    with tf32(run.parts.training.tf32), explained(run), interruptible() as interruption:
        _all_epochs(run, interruption)


def _all_epochs(run: Run, interruption: Interruption) -> None:
    try:
        while not run.is_over:
            _one_epoch(run, interruption)
    except StopHere as stop:
        raise _interrupted(run, stop.signal_number) from None


def _one_epoch(run: Run, interruption: Interruption) -> None:
    state, start = run.state, time.perf_counter()
    _train(run, interruption)
    result = _evaluate(run, interruption)
    train_loss = state.loss_sum / state.images if state.images else math.nan
    state.values.append(_metric(run, result))
    tell_of_bad_images(run)
    replaced, state.replaced = state.replaced, 0
    state.epoch, state.step, state.loss_sum, state.images = state.epoch + 1, 0, 0.0, 0
    state.seconds += time.perf_counter() - start
    record = EpochRecord(
        epoch=state.epoch,
        epochs=run.parts.training.epochs,
        train_loss=train_loss,
        eval_loss=result.loss,
        top_1=result.top_1,
        top_5=result.top_5,
        lr=run.parts.schedule.lr,
        replaced=replaced,
        is_best=state.best_epoch == state.epoch,
        head="" if run.parts.heads is None else label(run.parts.heads.at(state.epoch - 1)),
        seconds=time.perf_counter() - start,
    )
    run.directory.append_epoch(record)
    keep_epoch(run, result)
    run.observer.on_epoch(record)
    if stops_early(state, run.parts.training):
        reason = explain_end(state, run.parts.training)
        run.observer.on_note(f"The run ends after epoch {state.epoch}: {reason}")
    interruption.check_all(run.parts.processes)


def _train(run: Run, interruption: Interruption) -> None:
    parts, state = run.parts, run.state
    pace = _Pace(run)
    parts.processes.doing = f"update {state.updates + 1}"
    for batches in interruption.in_step(parts.processes, _remaining(run)):
        lr = parts.schedule.lr
        result = careful_update_(run, batches)
        state.step, state.updates = state.step + 1, state.updates + 1
        parts.processes.doing = f"update {state.updates + 1}"
        if result.problem is None:
            state.loss_sum += result.loss * result.images
            state.images += result.images
            record = pace.record(result, lr)
            run.directory.append_step(record)
            run.observer.on_step(record)
        if parts.processes.world == 1:  # several tell at the end of the epoch, and when they save
            tell_of_bad_images(run)
        if run.is_save_due:
            require_finite_(run)
            save_on_the_way(run)


def _remaining(run: Run) -> Iterator[tuple[Batch, ...]]:
    """The batches of the epoch's updates that are yet to be done."""
    parts, state = run.parts, run.state
    parts.begin_epoch(state.epoch, step=state.step)
    for note in parts.notes(state.epoch) if state.step == 0 else ():
        run.observer.on_note(note)
    state.restore_generators()
    yield from _grouped(parts.training_batches, parts.training.grad_accum_steps)


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[tuple[Batch, ...]]:
    remaining = iter(batches)
    while group := tuple(islice(remaining, size)):
        yield group


class _Pace:
    """How fast the updates come."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first_update = run.state.updates
        self._start = self._last = time.perf_counter()

    def record(self, result: UpdateResult, lr: float) -> StepRecord:
        parts, state, now = self._run.parts, self._run.state, time.perf_counter()
        seconds, self._last = now - self._last, now
        total = parts.training.epochs * parts.updates_per_epoch - state.lead
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


def _evaluate(run: Run, interruption: Interruption) -> ClassificationResult:
    parts, state = run.parts, run.state
    require_finite_(run)
    evaluate = partial(
        evaluate_classification,
        parts.evaluated,
        class_names=parts.recipe.class_names,
        device=parts.device,
        track=interruption.watching(run.observer.track),
        processes=parts.processes,
    )
    parts.processes.doing = f"the evaluation after update {state.updates}"
    try:
        return evaluate_within_memory(run, parts.validation_batches, evaluate)
    except NonFiniteError as problem:
        raise NonFiniteError(
            f"After step {state.updates} the logits of the validation images are not finite.",
            reason=parts.processes.main(partial(_explain_evaluation, parts)),
        ) from problem


def _explain_evaluation(parts: Parts) -> str:
    images, _ = next(iter(parts.validation_batches))
    return explain_nonfinite(parts.evaluated.eval(), images.to(parts.device))


def _metric(run: Run, result: ClassificationResult) -> float:
    """What the best epoch has most of."""
    values = {"top1": result.top_1, "top5": result.top_5, "loss": -result.loss}
    return values[run.parts.training.eval_metric]


def _export_last(run: Run) -> None:
    path, epoch = run.directory.exported("last"), run.state.epoch
    in_use = epoch if run.state.step else max(epoch - 1, 0)  # the next one has not begun
    export(run.parts, path, data=run.data, epochs=epoch, epoch=in_use, result=None)


def _interrupted(run: Run, number: int) -> InterruptedRunError:
    require_finite_(run)
    try:
        save(run)
        run.parts.processes.main(partial(_export_last, run))
    except OSError as problem:
        raise given_up(run, problem) from problem
    return InterruptedRunError(
        f"Interrupted by {Signals(number).name} after step {run.state.updates}; "
        "the state was saved.",
        signal_number=number,
        hint=f"Go on with: covtool finetune --resume {run.directory.path}",
    )
