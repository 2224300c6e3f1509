"""covtool's own runs as models: a run's folder, and the states that it is resumed from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from covtool.checkpoints import model_file
from covtool.checkpoints.places import is_folder, is_there
from covtool.errors import ArgumentError, CheckpointError, reason_of
from covtool.full_paths import absolute
from covtool.printable import printable
from covtool.regular_files import is_regular
from covtool.run_files import ARGUMENTS, EXPORTED, RECIPE, STATES, read_settings
from covtool.specs import Recipe
from covtool.specs.provenance import SavedStateStep
from covtool.specs.recipe_reading import recipe_of

if TYPE_CHECKING:
    from covtool.checkpoints.foreign import ForeignCheckpoint

BEST, LAST = "best", "last"

_OF_STATES = {"version", "progress", "model", "optimizer", "generators"}  # entries of every one
_CHOICE = "@"  # RUN@last


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A state of one of covtool's own runs.

    Attributes:
        epoch: Epochs done.
        recipe: Recipe of its model; None where neither file nor folder has it.
    """

    epoch: int
    recipe: Recipe | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModel:
    """A model that covtool wrote.

    Attributes:
        model: In eval mode, on the CPU.
        recipe: Recipe of the model.
        checkpoint: The file.
        notes: Choice of the file, in sentences.
    """

    model: nn.Module
    recipe: Recipe
    checkpoint: "ForeignCheckpoint"
    notes: tuple[str, ...] = ()


def find_in_run(source: str | Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the file that stands for a run: its best exported model, or what is asked for.

    Args:
        source: A run's folder; with ``@last``, ``@best`` or ``@epoch-3`` behind it that model.

    Returns:
        The file, and a note that says so; None and nothing where `source` is not a run.

    Raises:
        CheckpointError: The run has no such model.
    """
    folder, choice = _split(str(source))
    if folder is None:
        return None, ()
    found = [folder / EXPORTED / f"{name}.safetensors" for name in (choice or BEST, choice or LAST)]
    found.append(folder / STATES / f"{choice}.pt")
    path = next((path for path in found if is_regular(path)), None)
    if path is None:
        raise _nothing_in(folder, choice)
    other = f"; {folder}{_CHOICE}{LAST} takes the last" if path.stem == BEST and not choice else ""
    return path, (f"Of the run {folder}, {path.relative_to(folder)} is taken{other}.",)


def _split(source: str) -> tuple[Path | None, str]:
    """Return a run's folder and the model of it that is asked for; None without such a run."""
    if is_folder(Path(source) / EXPORTED):
        return Path(source), ""
    folder, _, choice = source.rpartition(_CHOICE)
    is_run = folder and is_folder(Path(folder) / EXPORTED) and not is_there(Path(source))
    return (Path(folder), choice) if is_run else (None, "")


def _nothing_in(folder: Path, choice: str) -> CheckpointError:
    exported = sorted((folder / EXPORTED).glob("*.safetensors"))
    states = sorted((folder / STATES).glob("*.pt"))
    there = ", ".join(dict.fromkeys(path.stem for path in (*exported, *states)))
    if choice:
        return CheckpointError(
            f"The run {folder} has no model called {printable(choice)}.",
            reason=f"It has {there or 'none yet'}.",
            hint=f"Give the folder alone for the best one, or {folder}{_CHOICE}{LAST}.",
        )
    resume = f"Go on with: covtool finetune --resume {folder}."
    return CheckpointError(
        f"The run {folder} has no exported model yet.",
        reason="It ended before its first epoch was done.",
        hint=f"{resume} Or take the state as it is: {states[0]}." if states else resume,
    )


def saved_state(path: Path, content: Any) -> SavedState | None:
    """Return what a file says about itself, if it is a state of one of covtool's own runs.

    Args:
        path: The file; the run's folder around it may tell the recipe.
        content: Content of the file.

    Raises:
        CheckpointError: Its recipe is not one that this version understands.
    """
    if not isinstance(content, Mapping) or not set(content) >= _OF_STATES:
        return None
    progress = content["progress"]
    epoch = progress.get("epoch") if isinstance(progress, Mapping) else None
    if not isinstance(epoch, int):
        return None
    stated = content.get("recipe") or _recipe_beside(path)
    return SavedState(epoch=epoch, recipe=None if stated is None else _validated(path, stated))


def _recipe_beside(path: Path) -> Any:
    """Return the recipe in the run's folder; None where the head may have been another by then."""
    folder = absolute(path).parent.parent
    if absolute(path).parent.name != STATES:
        return None
    arguments = _settings(folder / ARGUMENTS)
    if arguments is None or arguments.get("head_schedule"):
        return None
    return _settings(folder / RECIPE)


def _settings(path: Path) -> Mapping[str, Any] | None:
    """Return what a run wrote beside its states; None where that is missing or cannot be read."""
    try:
        return read_settings(path)
    except ArgumentError:
        return None


def _validated(path: Path, stated: Any) -> Recipe:
    try:
        return recipe_of(stated)
    except ValueError as problem:
        raise CheckpointError(
            f"The recipe of the run that {path} belongs to is not one that this version of covtool "
            "understands.",
            reason=reason_of(problem),
            hint="Was it written by a newer version? Update covtool.",
        ) from problem


def model_of_state(checkpoint: "ForeignCheckpoint") -> OwnModel:
    """Return the model in a state of a run, with the average of its weights where there is one.

    Args:
        checkpoint: Checkpoint with `saved`.

    Raises:
        CheckpointError: Nothing tells what the model is made of, or the tensors do not fit that.
    """
    path, saved = checkpoint.path, checkpoint.saved
    if saved.recipe is None:
        raise CheckpointError(
            f"{path} is the state of a covtool run, and does not name its model.",
            reason=f"There is no {RECIPE} in the folder above it that states it, or the run "
            "exchanged its head.",
            hint=f"Give the run's folder, or {EXPORTED}/{BEST}.safetensors in it.",
        )
    recipe = _with_history(saved, path)
    model = model_file.assemble(recipe, checkpoint.tensors, path)
    epochs = f"{saved.epoch} epoch{'' if saved.epoch == 1 else 's'}"
    return OwnModel(
        model=model,
        recipe=recipe,
        checkpoint=checkpoint,
        notes=(f"{path} is the state of a covtool run after {epochs}.", *checkpoint.notes),
    )


def _with_history(saved: SavedState, path: Path) -> Recipe:
    step = SavedStateStep(file=path.name, epochs=saved.epoch)
    updated = saved.recipe.provenance.with_step(step)
    return saved.recipe.model_copy(update={"provenance": updated})
