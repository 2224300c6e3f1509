"""States that a run of covtool is resumed from, recognized among other files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.errors import ArgumentError, CheckpointError, reason_of
from covtool.full_paths import absolute
from covtool.run_files import ARGUMENTS, RECIPE, STATES, read_settings
from covtool.specs import Recipe
from covtool.specs.recipe_reading import recipe_of

_OF_STATES = {"version", "progress", "model", "optimizer", "generators"}  # entries of every one


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedState:
    """A state of one of covtool's own runs.

    Attributes:
        epoch: Epochs done.
        recipe: Recipe of its model; None where neither file nor folder has it.
        resolved: Whether the run's models are exported with another classifier, solved anew.
    """

    epoch: int
    recipe: Recipe | None
    resolved: bool = False


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
    arguments = _arguments_beside(path)
    recipe = content.get("recipe") or _recipe_beside(path, arguments)
    return SavedState(
        epoch=epoch,
        recipe=None if recipe is None else _validated(path, recipe),
        resolved=arguments is not None and arguments.get("resolve_head") == "on",
    )


def _arguments_beside(path: Path) -> Mapping[str, Any] | None:
    """Return the settings in the folder of the run that a state is in; None outside of one."""
    if absolute(path).parent.name != STATES:
        return None
    return _settings(absolute(path).parent.parent / ARGUMENTS)


def _recipe_beside(path: Path, arguments: Mapping[str, Any] | None) -> Any:
    """Return the recipe in the run's folder; None where the head may have been another by then."""
    if arguments is None or arguments.get("head_schedule"):
        return None
    return _settings(absolute(path).parent.parent / RECIPE)


def _settings(path: Path) -> Mapping[str, Any] | None:
    """Return what a run wrote beside its states; None where that is missing or cannot be read."""
    try:
        return read_settings(path)
    except ArgumentError:
        return None


def _validated(path: Path, recipe: Any) -> Recipe:
    try:
        return recipe_of(recipe)
    except ValueError as problem:
        raise CheckpointError(
            f"The recipe of the run that {path} belongs to is not one that this version of covtool "
            "understands.",
            reason=reason_of(problem),
            hint="Was it written by a newer version? Update covtool.",
        ) from problem
