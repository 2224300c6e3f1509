"""An update of the weights that survives what can be survived."""

from collections.abc import Sequence
from dataclasses import replace

from covtool.training.parts.assembly import Parts
from covtool.training.run.run import Run
from covtool.training.step.diagnosis import STATISTICS
from covtool.training.step.nonfinite import are_finite
from covtool.training.step.nonfinite_policy import tolerate_nonfinite_
from covtool.training.step.out_of_memory import gradient_within_memory_
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import Batch, UpdateResult, apply_gradient_, drop_gradient_


def guarded_update_(run: Run, batches: Sequence[Batch]) -> UpdateResult:
    """Train on one or several batches that make one update.

    Args:
        run: It counts the update itself, done or not.
        batches: `grad_accum_steps` of them, fewer at the end of an epoch.

    Returns:
        With a `problem` where the update was not done and the run goes on without it.

    Raises:
        NonFiniteError: The loss or the gradient is not finite, and that is not to be survived.
        OutOfMemoryError: The images do not fit into memory.
    """
    parts, updates = run.parts, run.state.updates
    start = Rewind(parts.model)
    result = gradient_within_memory_(run, batches, start)
    if result.problem is None and not _has_finite_statistics(parts, start):
        result = replace(result, problem=STATISTICS)
    if result.problem is None:
        apply_gradient_(parts, updates=updates)
    else:
        tolerate_nonfinite_(run, batches, start, result)
        drop_gradient_(parts, updates=updates)
    return result


def _has_finite_statistics(parts: Parts, start: Rewind) -> bool:
    """Return whether those that the forward pass updated are; the same answer in all processes.

    Squares of features overflow long before features do, and the loss does not show it.
    """
    if not start.statistics:
        return True
    (broken,) = parts.processes.most(float(not are_finite(start.statistics)))
    return not broken
