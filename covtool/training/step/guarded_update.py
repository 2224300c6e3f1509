"""An update of the weights that recovers from non-finite values and from a lack of memory."""

from collections.abc import Sequence
from functools import partial

from covtool.training.run.run import Run
from covtool.training.step.diagnosis import STATISTICS
from covtool.training.step.nonfinite import are_finite
from covtool.training.step.nonfinite_policy import tolerate_nonfinite_
from covtool.training.step.out_of_memory import within_memory
from covtool.training.step.rewind import Rewind
from covtool.training.step.update import Batch, UpdateResult, skip_update_, update_


def guarded_update_(run: Run, batches: Sequence[Batch]) -> UpdateResult:
    """Train on one or several batches that make one update.

    Args:
        run: The run; counting the update, done or not, is left to the caller.
        batches: `grad_accum_steps` batches, fewer at the end of an epoch.

    Returns:
        The result, with a `problem` where the run goes on without this update.

    Raises:
        NonFiniteError: The loss or the gradient is not finite, and the run has to stop.
        OutOfMemoryError: The images do not fit into memory.
    """
    parts, updates = run.parts, run.state.updates
    start = Rewind(parts.model)

    def check_statistics() -> str | None:
        start.may_retry = False  # from here on processes and weights go on together
        return None if _has_finite_statistics(run, start) else STATISTICS

    update = partial(update_, parts, batches, updates=updates, before_step=check_statistics)
    result = within_memory(run, update, start)
    if result.problem is not None:
        tolerate_nonfinite_(run, batches, start, result)
        skip_update_(parts, updates=updates)
    return result


def _has_finite_statistics(run: Run, start: Rewind) -> bool:
    """Return whether the statistics of the forward pass are finite, the same in all processes.

    Squares of features overflow long before features do, and the loss does not show it.
    """
    if not start.statistics:
        return True
    (broken,) = run.parts.processes.most(float(not are_finite(start.statistics)))
    return not broken
