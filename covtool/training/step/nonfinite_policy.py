"""The policy for an update that is not finite: the run stops, skips it, or goes back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from covtool.errors import NonFiniteError
from covtool.training.run.random_state import capture_generators, set_generators
from covtool.training.run.run import Run
from covtool.training.run.state import restore_
from covtool.training.step.diagnosis import diagnose_
from covtool.training.step.nonfinite import first_nonfinite_tensor
from covtool.training.step.nonfinite_dump import RecordedBatch, write_dump
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import (
    Batch,
    MicroBatch,
    UpdateResult,
    count_images,
    micro_batches,
)

DUMP_NAME = "nonfinite.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An update that was not finite, looked at in one process.

    Attributes:
        problem: Quantity that was not finite.
        reason: Sentence that says where that starts.
        layer: The first layer with a non-finite output; None where all are finite.
        loss: Loss of the last batch, in nats.
        batches: Batches as they went through the model; the last one is the offender.
        is_here: Whether it is images of this process that are not finite.
    """

    problem: str
    reason: str
    layer: str | None
    loss: float
    batches: tuple[RecordedBatch, ...]
    is_here: bool


def tolerate_nonfinite_(
    run: Run, batches: Sequence[Batch], start: Rewind, result: UpdateResult
) -> None:
    """Bring a run to where it can go on after an update that must not be done.

    Args:
        run: The run; its weights are as before the update, its statistics may not be.
        batches: Batches of the update.
        start: Start of the update.
        result: Result of the update, with a `problem`.

    Raises:
        NonFiniteError: The run stops; a dump says what happened.
    """
    # The diagnosis draws the update's random numbers again; a run that goes on draws the next ones.
    after = capture_generators()
    finding = _examine_(run, batches, start, result.problem)
    findings = run.parts.processes.each(lambda: finding)
    # All processes give one answer: that of the first whose images begin it.
    finding = next((one for one in findings if one.is_here), finding)
    start.rewind_()  # the dump, too, holds what was there before the update
    policy = run.parts.request.faults.on_nonfinite
    broken = first_nonfinite_tensor(run.parts.model.state_dict().items())
    hopeless = policy == "skip" and broken  # every batch to come would be skipped
    if policy == "stop" or hopeless or _is_enough(run):
        raise _stopped(run, finding)
    skipped = "the update is skipped"
    done = skipped if policy == "skip" else f"{_restore_(run)}; the batch is skipped"
    set_generators(after)
    run.observer.on_note(
        f"{finding.problem} at step {run.state.updates + 1}: {done} {_count(run)}. {finding.reason}"
    )


def require_finite_(run: Run) -> None:
    """Check the weights; `--on-nonfinite restore` brings the saved ones back.

    Raises:
        NonFiniteError: They are not finite, and the run may not or no longer go back.
    """
    broken = first_nonfinite_tensor(run.parts.model.state_dict().items())
    if not broken:
        return
    problem = f"After step {run.state.updates} the model is not finite any more."
    reason = f"The first tensor with such a value is {broken!r}."
    if run.parts.request.faults.on_nonfinite != "restore" or _is_enough(run):
        raise NonFiniteError(problem, reason=_with_count(run, reason))
    done = _restore_(run)
    run.observer.on_note(f"{problem} {reason} Now {done} {_count(run)}.")


def _examine_(run: Run, batches: Sequence[Batch], start: Rewind, problem: str) -> Finding:
    """Do the update's passes once more, layer by layer, and record their batches."""
    seen: list[RecordedBatch] = []
    start.rewind_()
    diagnosis = diagnose_(run.parts, _recorded(run, batches, seen))
    return Finding(
        problem=problem,
        reason=diagnosis.reason or "On a second run, alone, everything is finite.",
        layer=diagnosis.layer,
        loss=diagnosis.loss,
        batches=tuple(seen),
        is_here=diagnosis.is_here,
    )


def _recorded(
    run: Run, batches: Sequence[Batch], seen: list[RecordedBatch]
) -> Iterator[MicroBatch]:
    parts = run.parts
    total = count_images(parts, batches)
    for micro in micro_batches(parts, batches, run.state.micro_batch, total=total):
        seen.append(
            RecordedBatch(
                images=micro.images.cpu(),
                targets=micro.targets.cpu(),
                share=micro.share,
                generators=capture_generators(),
            )
        )
        yield micro


def _restore_(run: Run) -> str:
    """Go back to the last saved weights; the position in the data stays. Return a report of it."""
    saved = restore_(run.parts, run.directory.checkpoint("last"))
    run.parts.schedule.offset = run.state.schedule_offset  # other processes may have saved it
    run.parts.schedule.set_updates(run.state.updates)
    for epoch in range(saved.entered, run.state.entered):  # phases that began since it was saved
        run.parts.enter_epoch_(epoch)
    return f"the weights and the optimizer of step {saved.updates} are restored"


def _is_enough(run: Run) -> bool:
    return run.state.nonfinite >= run.parts.request.faults.nonfinite_limit


def _count(run: Run) -> str:
    run.state.nonfinite += 1
    return f"({run.state.nonfinite} of at most {run.parts.request.faults.nonfinite_limit})"


def _with_count(run: Run, reason: str) -> str:
    if not run.state.nonfinite:
        return reason
    times = "once" if run.state.nonfinite == 1 else f"{run.state.nonfinite} times"
    return f"{reason} The run went on {times} before (--nonfinite-limit)."


def _stopped(run: Run, finding: Finding) -> NonFiniteError:
    path = run.directory.path / DUMP_NAME
    return NonFiniteError(
        f"{finding.problem} at step {run.state.updates + 1}.",
        reason=_with_count(run, finding.reason),
        hint=run.parts.processes.main(partial(_written, run, finding, path)),
    )


def _written(run: Run, finding: Finding, path: Path) -> str:
    state = run.state
    try:
        write_dump(
            run.parts,
            path,
            finding.batches,
            problem=finding.problem,
            reason=finding.reason,
            layer=finding.layer,
            loss=finding.loss,
            epoch=state.epoch,
            step=state.step + 1,
            update=state.updates + 1,
        )
    except OSError as problem:
        return f"The batch could not be kept in {path}: {getattr(problem, 'reason', problem)}."
    return f"The batch is kept; to run it again: covtool doctor --replay {path}"
