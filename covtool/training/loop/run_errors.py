"""Errors that end a run, with its last saved state and the command that resumes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from covtool.data.loading.worker_death import translate_worker_death
from covtool.errors import CovtoolError, DataError, NonFiniteError, OutOfMemoryError, WorkerError
from covtool.training.loop.bad_images import BRING_BACK
from covtool.training.loop.saving import save
from covtool.training.run.run import Run
from covtool.training.step.nonfinite_policy import require_finite_
from covtool.training.step.out_of_memory import is_out_of_memory, reason_line

CALMER = "Lower --lr, clip the gradient with --clip-grad 1, or train without --amp."


@contextmanager
def add_resume_hint(run: Run) -> Iterator[None]:
    """Add the last state and the resuming command to an error; save first where that makes sense.

    Raises:
        CovtoolError: What was raised in the block, with more of a hint.
    """
    try:
        with translate_worker_death(run.parts.training.workers):
            yield
    except NonFiniteError as problem:
        raise _with_hint(problem, f"{_last(run)}.\n{CALMER}") from problem
    except (OutOfMemoryError, WorkerError) as problem:
        raise _with_hint(problem, f"{_last(run)}; {_go_on(run)}") from problem
    # Torch has no class of its own for a lack of memory in a worker, or on the CPU.
    except (RuntimeError, MemoryError) as problem:
        if isinstance(problem, CovtoolError) or not is_out_of_memory(problem):
            raise
        raise OutOfMemoryError(
            f"The run is out of memory after step {run.state.updates}.",
            reason=reason_line(problem),
            hint=f"Use fewer --workers or a smaller --batch-size.\n{_last(run)}; {_go_on(run)}",
        ) from problem
    except DataError as problem:
        # The weights are as good as before the image: the state of this very step is worth saving.
        require_finite_(run)
        save(run)
        saved = f"The state after step {run.state.updates} was saved"
        if run.parts.training.on_bad_image == "error":
            problem.hint = BRING_BACK
        raise _with_hint(problem, f"{saved}; {_go_on(run)}") from problem


def _with_hint(problem: CovtoolError, more: str) -> CovtoolError:
    hint = f"{problem.hint}\n{more}" if problem.hint else more
    return problem.with_hint(hint)


def _last(run: Run) -> str:
    return f"The last good state is {run.directory.checkpoint('last')}"


def _go_on(run: Run) -> str:
    return f"go on with: {run.resuming}"
