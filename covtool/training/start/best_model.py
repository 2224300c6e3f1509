"""The model of a run's best epoch, exported again from that epoch's state if it is gone."""

from pathlib import Path

from covtool.errors import ArgumentError, CheckpointError, DataError
from covtool.training.loop.exporting import export
from covtool.training.parts.assembly import Parts
from covtool.training.run.directory import RunDirectory
from covtool.training.run.state import RunState, restore_

BEST = "best"


def bring_back_best_(
    parts: Parts, directory: RunDirectory, state: RunState, newest: Path, data: tuple[str, str]
) -> str | None:
    """Export the best epoch's model again, where its file is gone; all processes must call this.

    Args:
        parts: Parts of the run, restored; they are in the end what they were.
        directory: Folder of the run.
        state: State that the parts are in.
        newest: File that they were restored from.
        data: Names of the data set and of its validation split.

    Returns:
        What was done, in a sentence; None where the model is there, or no epoch is done.

    Raises:
        SaveError: It cannot be written.
    """
    path, source = directory.exported(BEST), directory.checkpoint(BEST)
    if not state.best_epoch or parts.processes.main(path.exists):
        return None
    if not parts.processes.main(source.exists):
        return f"{path} is gone, and so is {source}, from which it could be written again."
    try:
        best = restore_(parts, source)
        epoch = best.epoch - 1  # the epoch done last, counted from 0
        if parts.solved is not None:
            parts.solved.solve_(parts.solved.batches, parts.processes)
        parts.processes.main(
            lambda: export(parts, path, data=data, epochs=best.epoch, epoch=epoch, result=None)
        )
    except (ArgumentError, CheckpointError, DataError) as problem:
        why = " ".join(filter(None, (problem.message, problem.reason)))
        return f"{path} is missing and cannot be written again. {why}"
    finally:
        # The parts were those of the best epoch for a while: the run goes on from the newest.
        restore_(parts, newest)
    return f"{path} was missing: it is written again from {source.name}, without its metrics."
