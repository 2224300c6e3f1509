"""Saving a run: after an epoch, between epochs, and when it is interrupted.

All processes of a run have a part in its state. The first one writes; the others wait for it, and
know whether it could.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from covtool.errors import SaveError
from covtool.training.loop.bad_images import note_bad_images
from covtool.training.loop.exporting import export
from covtool.training.loop.validate import solve_head_
from covtool.training.run.records import EpochResult
from covtool.training.run.run import Run
from covtool.training.run.state import capture


def save(run: Run) -> None:
    """Write the state, after the logs that belong to it.

    Raises:
        SaveError: It cannot be written; the states that were there still are.
    """
    note_bad_images(run)
    run.parts.processes.main(partial(_write, run, capture(run.parts, run.state), ()))


def save_on_the_way(run: Run) -> None:
    """Write the state in mid-epoch; that this fails is only a warning, for a while.

    Raises:
        SaveError: It has failed more than `save_retries` times in a row.
    """
    try:
        save(run)
    except SaveError as problem:
        _tolerate(run, problem)
    else:
        run.state.failed_saves = 0


def keep_epoch(run: Run, result: EpochResult) -> None:
    """Export the best and the last model, then write the state of an epoch that is done.

    The state comes last: a run that is killed before it does the epoch again.

    Raises:
        SaveError: It has failed more than `save_retries` times in a row, or the last epoch's did.
    """
    state, only_main = run.state, run.parts.processes.main
    payload = capture(run.parts, state)  # of all processes, before the first one goes its own way
    exported = False
    try:
        # One by one, so that all processes know which of them failed.
        only_main(partial(_export_epoch, run, result))
        exported = True
        only_main(partial(_write, run, payload, names(run)))
        only_main(partial(run.directory.checkpoints.keep_epochs, kept_epochs(run)))
    except OSError as problem:
        if not exported:
            # An epoch whose model is not there must not be called the best one.
            state.unsaved.append(state.epoch)
        if run.is_over:
            raise given_up(run, problem) from problem
        _tolerate(run, problem)
    else:
        state.failed_saves = 0


def complete_epoch(run: Run) -> None:
    """Complete an epoch whose run was killed right after its state was written.

    A run that is over because it got fewer epochs, or less patience, has no last model yet.
    """
    only_main, checkpoints = run.parts.processes.main, run.directory.checkpoints
    only_main(partial(checkpoints.name_newest, names(run)))
    only_main(partial(checkpoints.keep_epochs, kept_epochs(run)))
    if only_main(lambda: _lacks_last(run)):
        solve_head_(run, run.observer.track)  # of these weights: nothing has measured them yet
        only_main(partial(_export, run, "last", None))


def exports(run: Run) -> tuple[str, ...]:
    """Return the names of the models to export after the epoch that was just done."""
    best = ("best",) if run.state.best_epoch == run.state.epoch else ()
    return (*best, "last") if run.is_over else best


def names(run: Run) -> tuple[str, ...]:
    """Return the names of the state of the epoch that was just done, beside ``last``."""
    epoch = run.state.epoch
    best = ("best",) if run.state.best_epoch == epoch else ()
    return (*best, f"epoch-{epoch}") if epoch in kept_epochs(run) else best


def kept_epochs(run: Run) -> list[int]:
    """Return the best epochs, whose states are kept."""
    return run.state.ranking()[: run.parts.training.checkpoint_hist]


def _export_epoch(run: Run, result: EpochResult) -> None:
    for name in exports(run):
        _export(run, name, result)


def _lacks_last(run: Run) -> bool:
    return run.is_over and not run.directory.exported("last").exists()


def _export(run: Run, name: str, result: EpochResult | None) -> None:
    path, epochs = run.directory.exported(name), run.state.epoch
    export(run.parts, path, data=run.data, epochs=epochs, epoch=epochs - 1, result=result)


def _write(run: Run, payload: Mapping[str, Any], also_as: tuple[str, ...]) -> None:
    # A state must not be ahead of its logs: resuming cuts logs, but cannot write missing lines.
    run.directory.sync_logs()
    run.directory.checkpoints.save(payload, also_as)


def given_up(run: Run, problem: OSError) -> SaveError:
    """Build the error of a run that ends because it cannot be written."""
    failure = problem if isinstance(problem, SaveError) else SaveError(str(problem))
    newest = run.directory.checkpoints.candidates()
    last = f"The last good state is {newest[0]}.\n" if newest else ""
    return SaveError(
        failure.message,
        reason=failure.reason,
        hint=f"{last}Make room, then go on with: {run.resuming}",
    )


def _tolerate(run: Run, problem: OSError) -> None:
    """Warn of a failed save, or give up.

    Raises:
        SaveError: Too many have failed in a row.
    """
    state, retries = run.state, run.parts.request.faults.save_retries
    state.failed_saves += 1
    if state.failed_saves > retries:
        raise given_up(run, problem) from problem
    text = " ".join(str(problem).splitlines())
    run.observer.on_note(
        f"Step {state.updates} could not be saved ({state.failed_saves} of {retries} in a row): "
        f"{text} The run goes on."
    )
