"""A run goes on where it was last saved."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covtool.data.datasets.image_list import read_image_list
from covtool.data.datasets.layout import in_order_of, nothing_there, require_trainable
from covtool.errors import ArgumentError, CheckpointError, CovtoolError, DataError
from covtool.processes import Processes, joined
from covtool.run_files import ARGUMENTS, IMAGE_LIST, RECIPE
from covtool.run_files.settings import unusable
from covtool.specs import FinetuneRequest, ProcessSpec, as_flag
from covtool.specs.recipe_reading import recipe_of_run
from covtool.surgery.rebuild import rebuild
from covtool.training.loop.saving import complete_epoch
from covtool.training.parts.assembly import Parts
from covtool.training.parts.optimizer import schedule_alone
from covtool.training.run.checkpoints import NEWEST
from covtool.training.run.directory import RunDirectory, directory_at
from covtool.training.run.observer import Observer, observer_for
from covtool.training.run.state import RunState, restore_
from covtool.training.run.stopping import explain_end, refuse_to_go_back
from covtool.training.start.best_model import bring_back_best_
from covtool.training.start.finetune import Images, train_from_start
from covtool.training.start.prepare import assembled, read_layout, resolved, seed_everything
from covtool.training.start.reshard import reshard_
from covtool.training.start.running import FinetuneResult, named, run_to_end, start_run

MAY_CHANGE = (
    "epochs",
    "data",  # the same images in another place
    "on_bad_image",
    "device",
    "workers",
    "patience",
    "tensorboard",
    "checkpoint_hist",
    "save_every_steps",
    "save_retries",
    "on_nonfinite",
    "nonfinite_limit",
    "auto_batch",
    "nproc",
    "dist_timeout",
    "cache_memory",
    "cache_dir",
    "rri",
    "stop_delta",
    "max_memory",
)


def resume_finetune(
    directory: Path,
    *,
    changes: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> FinetuneResult:
    """Go on with a run from its last saved state, with the arguments that it was started with.

    Learning rate and optimizer continue where they were. The original model file is not needed,
    unless the run was killed before it was first saved. A run that is through stays as it is.

    Args:
        directory: Of the run.
        changes: Arguments that somebody gives again, by option name. Only those in `MAY_CHANGE`
            may differ from the run's own.
        observer: Who is told how it goes.

    Raises:
        ArgumentError: There is no such run, it is under way, or an argument differs.
        CheckpointError: Neither the last state nor the one before it can be read.
        CovtoolError: As `finetune`.
    """
    changes = changes or {}
    with joined(timeout_s=_timeout_s(directory, changes)) as processes:
        return _resumed(directory, changes, processes, observer_for(observer, processes))


def _resumed(
    directory: Path, changes: Mapping[str, Any], processes: Processes, observer: Observer
) -> FinetuneResult:
    saved = processes.main(lambda: RunDirectory.open(directory).read_yaml(ARGUMENTS))
    run_directory = directory_at(directory, processes)
    before = _started_with(saved, directory / ARGUMENTS)
    request, notes = _continued(saved, changes, processes)
    for note in (*_assumed(saved, before, directory / ARGUMENTS), *notes):
        observer.on_note(note)
    images = processes.main(lambda: _images(run_directory, request))
    if not processes.main(run_directory.checkpoints.candidates):
        observer.on_note(f"Nothing of the run in {directory} was saved yet: it starts over.")
        return train_from_start(request, run_directory, observer, images=images)
    layout, left_out = images or (processes.main(lambda: read_layout(request, observer)), None)
    recipe = processes.main(lambda: recipe_of_run(run_directory.path / RECIPE))
    layout = in_order_of(layout, recipe.class_names or ())  # of a version that sorted otherwise
    if recipe.class_names != layout.class_names:
        raise DataError.classes_differ(
            recipe.class_names or (),
            layout.class_names,
            hint=f"{directory / RECIPE} and {directory / IMAGE_LIST} say what the run has: bring "
            "them back as they were.",
        )
    seed_everything(request.training.seed)
    parts = assembled(rebuild(recipe), recipe, request, layout, observer, left_out=left_out)
    with run_directory.in_use():
        state, newest = _restored(parts, run_directory, observer)
        refuse_to_go_back(state, request.training, parts.phases)
        for note in processes.main(lambda: _forget_after(run_directory, state, parts)):
            observer.on_note(note)
        if note := bring_back_best_(parts, run_directory, state, newest, named(layout)):
            observer.on_note(note)
        epochs = before.training.epochs
        if request.training.epochs != epochs and parts.phases is None:
            observer.on_note(_on_rate(parts, state, epochs))
        if state.world != processes.world:
            observer.on_note(reshard_(parts, state))
        run_directory.write_yaml(ARGUMENTS, request.to_arguments())
        run = start_run(parts, state, run_directory, layout, observer)
        if run.is_over:
            reason = explain_end(state, request.training, parts.phases)
            observer.on_note(f"The run in {directory} is through: {reason}")
        if state.epoch and not state.in_epoch:
            complete_epoch(run)  # else the newest state is not that of an epoch's end
        return run_to_end(run)


def _started_with(saved: dict[str, Any], file: Path) -> FinetuneRequest:
    """Return what a run was started with.

    Raises:
        ArgumentError: Its arguments are not what covtool has written.
    """
    try:
        request = FinetuneRequest.from_arguments(saved)
        request.validate_fields()
    except ArgumentError as problem:
        raise unusable(file, problem.message) from problem
    return request


def _assumed(saved: Mapping[str, Any], request: FinetuneRequest, file: Path) -> Iterator[str]:
    """Yield what the arguments of a run do not say, as those of an older version may not."""
    lacking = {n: v for n, v in request.to_arguments().items() if n not in saved}
    if lacking:
        taken = ", ".join(f"{as_flag(name)} {value}" for name, value in lacking.items())
        yield f"{file} does not say everything; as by default: {taken}."


def _forget_after(directory: RunDirectory, state: RunState, parts: Parts) -> tuple[str, ...]:
    return directory.forget_after(
        epochs=state.epoch,
        updates=state.updates,
        skipped=state.nonfinite,
        phased=parts.phases is not None,
    )


def _on_rate(parts: Parts, state: RunState, epochs: int) -> str:
    """What another number of epochs does to the learning rate, which follows a schedule of them."""
    training = parts.training
    before = training.model_copy(update={"epochs": epochs})
    schedule = schedule_alone(before, updates_per_epoch=parts.updates_per_epoch)
    schedule.lead = state.lead
    schedule.set_updates(state.updates)
    return (
        f"The learning rate goes on at {parts.schedule.lr:.3g}, as --sched {training.sched} over "
        f"{training.epochs} epochs has it here; over {epochs} it was {schedule.lr:.3g}."
    )


def _timeout_s(directory: Path, changes: Mapping[str, Any]) -> float:
    """Return how long processes wait for each other: said again, said before, or the usual."""
    spec = ProcessSpec()
    with suppress(CovtoolError, ValidationError):  # told later, by all together
        saved = RunDirectory(directory).read_yaml(ARGUMENTS)
        known = {**saved, **changes}
        spec = ProcessSpec(**{n: known[n] for n in ProcessSpec.model_fields if n in known})
    return spec.dist_timeout


def _images(directory: RunDirectory, request: FinetuneRequest) -> Images | None:
    """Return the images that the run was started with, whatever its data set holds now.

    Returns:
        None where no list of them was written, as of images that are not in files.

    Raises:
        DataError: The list is damaged, or nothing can be trained with it.
    """
    file = directory.path / IMAGE_LIST
    if not file.exists():
        return None
    data = Path(request.data)
    if not data.exists():
        raise nothing_there(data)
    try:
        layout, left_out = read_image_list(file, data)
        require_trainable(layout)
    except DataError as problem:
        if str(file) in problem.message:
            raise
        raise DataError(f"{file} is damaged.", reason=problem.message) from problem
    return layout, left_out


def _restored(parts: Parts, directory: RunDirectory, observer: Observer) -> tuple[RunState, Path]:
    """Bring the parts to the newest state that can be read, and where that is.

    Raises:
        CheckpointError: None can.
        DataError: The images are others.
    """
    problems = []
    newest = directory.checkpoint(NEWEST)
    for path in parts.processes.main(directory.checkpoints.candidates):
        try:
            state = restore_(parts, path)
        except CheckpointError as problem:
            problems.append(problem)
            continue
        if path != newest:  # which cannot be read, or is not there any more
            parts.processes.main(directory.checkpoints.give_up_newest)
            why = f"{problems[0].message} {problems[0].reason} " if problems else ""
            observer.on_note(
                f"{why}The run goes on from the state before it: step {state.updates}."
            )
        return state, newest
    raise problems[0]


def _continued(
    saved: dict[str, Any], changes: Mapping[str, Any], processes: Processes
) -> tuple[FinetuneRequest, list[str]]:
    """Return the request of a resumed run, and a note for each argument that changes."""
    request = resolved(FinetuneRequest.from_arguments({**saved, **changes}), processes)
    notes = []
    for name, value in request.to_arguments().items():
        if name not in changes or value == saved.get(name):
            continue
        flag = as_flag(name)
        if name not in MAY_CHANGE:
            raise ArgumentError(
                f"{flag} is {value} now, but the run was started with {saved.get(name)}.",
                hint=f"Leave it out, or start a new run. What may change: {_changeable(request)}.",
            )
        notes.append(f"{flag} changes from {saved.get(name)} to {value}.")
    return request, notes


def _changeable(request: FinetuneRequest) -> str:
    others = (
        ("rri", "stop_delta", "max_memory") if request.svdnet is None else ("epochs", "patience")
    )
    return ", ".join(name for name in MAY_CHANGE if name not in others)
