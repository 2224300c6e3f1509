"""A run goes on where it was last saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covtool.errors import ArgumentError, DataError
from covtool.specs import FinetuneRequest, Recipe, as_flag
from covtool.surgery.rebuild import rebuild
from covtool.training.observer import Observer, SilentObserver
from covtool.training.preparing import assembled, read_layout, resolved, seed_everything
from covtool.training.run_directory import ARGUMENTS, RunDirectory
from covtool.training.running import FinetuneResult, run_to_end, start_run
from covtool.training.state import restore_

MAY_CHANGE = ("epochs", "device", "workers", "checkpoint_hist")


def resume_finetune(
    directory: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> FinetuneResult:
    """Go on with a run from its last saved state, with the arguments that it was started with.

    Learning rate and optimizer continue where they were. The original model file is not needed.

    Args:
        directory: Of the run.
        changes: Arguments that somebody gives again, by option name. Only those in `MAY_CHANGE`
            may differ from the run's own.
        observer: Who is told how it goes.

    Raises:
        ArgumentError: There is no such run, it is through, or an argument differs.
        CheckpointError: The state cannot be read.
        CovtoolError: As `finetune`.
    """
    observer = observer or SilentObserver()
    run_directory = RunDirectory.open(directory)
    request, notes = _continued(run_directory.read_yaml(ARGUMENTS), changes or {})
    layout = read_layout(request)
    recipe = _recipe(run_directory)
    if recipe.class_names != layout.class_names:
        raise DataError.classes_differ(recipe.class_names or (), layout.class_names)
    for note in notes:
        observer.on_note(note)
    seed_everything(request.training.seed)
    parts = assembled(rebuild(recipe), recipe, request, layout, observer)
    state = restore_(parts, run_directory.checkpoint("last"))
    if state.epoch >= request.training.epochs:
        raise ArgumentError(
            f"The run in {directory} is through: {state.epoch} epochs.",
            hint=f"Add --epochs {2 * state.epoch} to train longer.",
        )
    run_directory.forget_after(epochs=state.epoch, updates=state.updates)
    run_directory.write_yaml(ARGUMENTS, request.to_arguments())
    return run_to_end(start_run(parts, state, run_directory, layout, observer))


def _continued(
    saved: dict[str, Any], changes: Mapping[str, Any]
) -> tuple[FinetuneRequest, list[str]]:
    """The request of a resumed run, and a note for each argument that changes."""
    request = resolved(FinetuneRequest.from_arguments({**saved, **changes}))
    notes = []
    for name, value in request.to_arguments().items():
        if name not in changes or value == saved.get(name):
            continue
        flag = as_flag(name)
        if name not in MAY_CHANGE:
            raise ArgumentError(
                f"{flag} is {value} now, but the run was started with {saved.get(name)}.",
                hint=f"Leave it out, or start a new run. What may change: {', '.join(MAY_CHANGE)}.",
            )
        notes.append(f"{flag} changes from {saved.get(name)} to {value}.")
    return request, notes


def _recipe(directory: RunDirectory) -> Recipe:
    try:
        return Recipe.model_validate(directory.read_yaml("recipe.yaml"))
    except ValidationError as problem:
        raise ArgumentError(
            f"{directory.path / 'recipe.yaml'} is not a recipe.",
            reason=problem.errors()[0]["msg"],
        ) from problem
