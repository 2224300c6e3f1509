"""Resuming a run from its last saved state."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covtool.checkpoints.opened import OpenedModel
from covtool.data.datasets.image_list import read_image_list
from covtool.data.datasets.layout import in_order_of, require_trainable
from covtool.data.datasets.places import nothing_there, record_source
from covtool.data.datasets.records.shard_index import read_shard_index
from covtool.errors import ArgumentError, CheckpointError, CovtoolError, DataError
from covtool.processes import Processes, joined
from covtool.run_files import ARGUMENTS, IMAGE_INDEX, IMAGE_LIST, RECIPE, read_settings
from covtool.run_files.settings import unusable
from covtool.specs import FinetuneRequest, ProcessSpec, as_flag
from covtool.specs.optimization import AUTO
from covtool.specs.recipe_reading import recipe_of_run
from covtool.surgery.rebuild import rebuild
from covtool.training.loop.saving import complete_epoch
from covtool.training.parts.assembly import Parts
from covtool.training.parts.schedule import PhaseRates
from covtool.training.run.checkpoints import NEWEST
from covtool.training.run.directory import RunDirectory, directory_at
from covtool.training.run.kept_notes import KeptNotes
from covtool.training.run.logs import columns_of, earlier_notes
from covtool.training.run.observer import Observer, observer_for
from covtool.training.run.state import RunState, restore_
from covtool.training.run.stopping import explain_end, is_finished, refuse_to_go_back
from covtool.training.start.best_model import bring_back_best_
from covtool.training.start.execute import FinetuneResult, named, run_to_end, start_run
from covtool.training.start.finetune import Images, train_from_start
from covtool.training.start.prepare import (
    check,
    read_layout,
    resolve_defaults,
    seed_everything,
)

EXACT_DECODE = "exact_decode"

# Where a run is done, how long, and what it survives: not what it learns, nor how it is judged.
MAY_CHANGE = (
    "epochs",
    "data",  # the same images in another place
    "on_bad_image",
    "device",
    "workers",
    "patience",
    "tensorboard",
    "log",
    "keep_neighbors",
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
        directory: Folder of the run.
        changes: Arguments that are given again, by option name. Only those in `MAY_CHANGE` may
            differ from the run's own.
        observer: Observer of the run.

    Raises:
        ArgumentError: There is no such run, it is under way, or an argument differs.
        CheckpointError: Neither the last state nor the one before it can be read.
        CovtoolError: As `finetune`.
    """
    changes = changes or {}
    with joined(timeout_s=waiting_s(directory / ARGUMENTS, changes)) as processes:
        return resume_run(directory, changes, processes, observer_for(observer, processes))


def resume_run(
    directory: Path,
    changes: Mapping[str, Any],
    processes: Processes,
    observer: Observer,
    *,
    images: Images | None = None,
) -> FinetuneResult:
    """Go on with a run, in processes that have joined; see `resume_finetune`.

    Args:
        directory: Folder of the run.
        changes: Arguments that are given again, by option name.
        processes: Processes that train together.
        observer: Observer of the run.
        images: Images that it was to have, should it have been killed before it wrote them down;
            None for what the data set holds.

    Raises:
        CovtoolError: As `resume_finetune`.
    """
    saved = processes.main(lambda: RunDirectory.open(directory).read_yaml(ARGUMENTS))
    run_directory = directory_at(directory, processes)
    observer = kept = KeptNotes(observer, processes.main(lambda: earlier_notes(directory)))
    before = _started_with(saved, directory / ARGUMENTS)
    request, notes = continued_request(saved, changes, processes)
    for note in (*_assumed(saved, before, directory / ARGUMENTS), *notes):
        observer.on_note(note)
    images = processes.main(lambda: images_of_run(run_directory, request)) or images
    if not processes.main(run_directory.checkpoints.candidates):
        observer.on_note(f"Nothing of the run in {directory} was saved yet: it starts over.")
        return train_from_start(request, run_directory, observer, processes, images=images)
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
    # What is drawn while the parts are built does not count: the generators are restored later.
    seed_everything(request.training.seed)
    opened = OpenedModel(model=rebuild(recipe), recipe=recipe)
    material = check(opened, request, layout, observer, processes, left_out=left_out)
    parts = material.assembled(request, processes)
    # From here on files change, and another process must keep out.
    with run_directory.in_use():
        state, newest = _restored(parts, run_directory, observer)
        refuse_to_go_back(state, request.training, parts.phases)
        _refuse_other_pixels(saved, directory, state, parts)
        for note in processes.main(lambda: _forget_after(run_directory, state, parts)):
            observer.on_note(note)
        kept.write_to(run_directory.append_note)
        if note := bring_back_best_(parts, run_directory, state, newest, named(layout, request)):
            observer.on_note(note)
        epochs = before.training.epochs
        if request.training.epochs != epochs and not parts.phases.shown:
            observer.on_note(_on_rate(parts, state, epochs))
        if state.world != processes.world:
            observer.on_note(reshard_(parts, state))
        # Only now: a resumption that fails above leaves the arguments as they were.
        run_directory.write_yaml(ARGUMENTS, _arguments(saved, request))
        run = start_run(parts, state, run_directory, layout, observer)
        if run.is_over:
            reason = explain_end(state, request.training, parts.phases)
            kept.announce(f"The run in {directory} is complete: {reason}")
        # A run may have been killed between its state and what follows it.
        if state.epoch and not state.in_epoch:
            complete_epoch(run)  # else the newest state is not that of an epoch's end
        return run_to_end(run, kept)


def _started_with(saved: dict[str, Any], file: Path) -> FinetuneRequest:
    """Return the request that a run was started with.

    Raises:
        ArgumentError: Its arguments are not what covtool has written.
    """
    try:
        request = FinetuneRequest.from_arguments(saved)
        request.validate_fields()
        if request.training.lr == AUTO:  # a number as soon as the run is there
            raise ArgumentError(f"'lr' is not valid: It is {AUTO}, not a number.")
    except ArgumentError as problem:
        raise unusable(file, problem.message) from problem
    # Those that it lacks, as a number.
    return request.model_copy(update={"training": request.training.with_rates()})


def _assumed(saved: Mapping[str, Any], request: FinetuneRequest, file: Path) -> Iterator[str]:
    """Yield a note on settings that `args.yaml` lacks, as that of an older version may."""
    lacking = {n: v for n, v in _arguments(saved, request).items() if n not in saved}
    if lacking:
        taken = ", ".join(f"{as_flag(name)} {value}" for name, value in lacking.items())
        yield f"{file} does not set everything; defaults are used for: {taken}."


def had_other_pixels(saved: Mapping[str, Any], request: FinetuneRequest) -> bool:
    """Return whether a run was begun when images without a cache were resized by Pillow.

    Args:
        saved: Settings in its folder.
        request: The request that they make.
    """
    is_varied = request.augmentation.aug and request.loading.cache == "off"
    return is_varied and EXACT_DECODE not in saved


def _refuse_other_pixels(
    saved: Mapping[str, Any], directory: Path, state: RunState, parts: Parts
) -> None:
    """Refuse to train such a run further; one that is over stays as it is.

    Raises:
        ArgumentError: Epochs are left.
    """
    is_over = is_finished(state, parts.training, parts.phases)
    if is_over or not had_other_pixels(saved, parts.request):
        return
    raise ArgumentError(
        f"The run in {directory} cannot go on exactly: it was begun by a version of covtool that "
        "resized training images with Pillow.",
        reason="Without a cache they are now resized in the way of cached ones, which rounds "
        "otherwise.",
        hint=f"Finish it with that version, or start a new run from its weights: --init-from "
        f"{directory}.",
    )


def _arguments(saved: Mapping[str, Any], request: FinetuneRequest) -> dict[str, Any]:
    """Return what `args.yaml` is to hold: what a run did not have is not added to it."""
    arguments = request.to_arguments()
    if had_other_pixels(saved, request):
        del arguments[EXACT_DECODE]
    return arguments


def _forget_after(directory: RunDirectory, state: RunState, parts: Parts) -> tuple[str, ...]:
    return directory.forget_after(
        epochs=state.epoch,
        updates=state.updates,
        skipped=state.nonfinite,
        columns=columns_of(
            phased=bool(parts.phases.shown), searched=parts.data.searched is not None
        ),
    )


def _on_rate(parts: Parts, state: RunState, epochs: int) -> str:
    """Describe what another number of epochs does to the learning rate."""
    training = parts.training
    before = training.model_copy(update={"epochs": epochs})
    rates = PhaseRates(before, updates_per_epoch=parts.updates_per_epoch)
    lr = rates.at(state.updates + state.schedule_offset)
    return (
        f"The learning rate goes on at {parts.schedule.lr:.3g}, as --sched {training.sched} over "
        f"{training.epochs} epochs has it here; over {epochs} it was {lr:.3g}."
    )


def waiting_s(file: Path, changes: Mapping[str, Any]) -> float:
    """Return how long processes wait for each other: as given now, as saved, or the default."""
    spec = ProcessSpec()
    # Before the processes have joined: what is wrong is reported later, by all together.
    with suppress(CovtoolError, ValidationError):
        saved = read_settings(file)
        known = {**saved, **changes}
        spec = ProcessSpec(**{n: known[n] for n in ProcessSpec.model_fields if n in known})
    return spec.dist_timeout


def images_of_run(directory: RunDirectory, request: FinetuneRequest) -> Images | None:
    """Return the images that the run was started with, whatever its data set holds now.

    Returns:
        None where no list of them was written, as for images that are not in files; or where their
        tar files have changed since, which their fingerprints tell.

    Raises:
        DataError: The list is damaged, or nothing can be trained with it.
    """
    file = directory.path / IMAGE_LIST
    if not file.exists():
        source = record_source(request.data)
        index = source and read_shard_index(directory.path / IMAGE_INDEX, source.root)
        return (index, None) if index else None
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
    """Restore the newest state that can be read; return it with the path of the newest.

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


def continued_request(
    saved: dict[str, Any], changes: Mapping[str, Any], processes: Processes
) -> tuple[FinetuneRequest, list[str]]:
    """Return the request of a resumed run, and a note for each argument that changes.

    Raises:
        ArgumentError: One may not change.
    """
    if "lr_rule" in saved and changes.get("lr") == AUTO:  # it was found: it is not searched again
        changes = {name: value for name, value in changes.items() if name != "lr"}
    request = resolve_defaults(FinetuneRequest.from_arguments({**saved, **changes}), processes)
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
    # Each command has its own way to say how long a run is.
    others = (
        ("rri", "stop_delta", "max_memory") if request.svdnet is None else ("epochs", "patience")
    )
    return ", ".join(name for name in MAY_CHANGE if name not in others)


def reshard_(parts: Parts, state: RunState) -> str:
    """Bring a state that another number of processes has saved to where these can go on.

    Batches have as many images per process as before, and so another size in all. The epoch goes on
    at the last of the new updates that begins with images not seen yet, or just before.

    Args:
        parts: Parts of the run, restored.
        state: State whose position and schedule offset change.

    Returns:
        Note on what is different from now on.
    """
    before, now = state.world, parts.processes.world
    # Rounded down: an image is rather seen twice than not at all.
    state.step = min(state.step * before // now, parts.updates_per_epoch)
    state.schedule_offset = state.epoch * parts.updates_per_epoch + state.step - state.updates
    state.world = now
    parts.schedule.offset = state.schedule_offset
    parts.schedule.set_updates(state.updates)
    # There are states of the generators for the old number of processes only.
    seed_everything(parts.training.seed + state.updates + parts.processes.rank)
    saved_by = "1 process" if before == 1 else f"{before} processes"
    images = parts.training.batch_size * parts.training.grad_accum_steps
    return (
        f"The run was saved by {saved_by} and goes on with {now}: an update has "
        f"{images * now} images in place of {images * before}, their order within the epoch "
        "changes, and so do random numbers."
    )
