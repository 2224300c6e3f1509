"""`--init-from`: the weights of another run to start from, and nothing else of it."""

import os
from contextlib import suppress
from pathlib import Path

from torch import Tensor, nn

from covtool import __version__
from covtool.backbones.weights import load_tensors_
from covtool.checkpoints.finite import require_finite
from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.key_report import compare_keys
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.places import is_folder
from covtool.checkpoints.run_models import BEST, find_in_run, run_named
from covtool.errors import ArgumentError, CheckpointError
from covtool.regular_files import is_regular
from covtool.run_files import RECIPE, STATES
from covtool.specs import Recipe
from covtool.specs.provenance import InitialWeightsStep
from covtool.specs.recipe_reading import recipe_of_json, recipe_of_run
from covtool.specs.training_history import trained_as_they_are
from covtool.surgery.rebuild import rebuild
from covtool.training.parts.head import ClassifierHead, find_head, replace_classifier_
from covtool.training.run.checkpoints import NEWEST


def open_initial(source: str, *, weights: str) -> OpenedModel:
    """Return the model of a run, with the weights of one of its states; nothing else is needed.

    Args:
        source: Folder of a run, or one of its checkpoints.
        weights: ``auto``, ``ema`` or ``raw``; the first two prefer the moving average.

    Raises:
        ArgumentError: It belongs to no run.
        CheckpointError: The state cannot be read.
    """
    path = _state_file(Path(source))
    # The folder first: its recipe can be read without the tensors.
    recipe = _recipe_of(path) or _recipe_in(path)
    if recipe is None:
        raise ArgumentError(
            f"MODEL is missing: {source} does not say what its weights belong to.",
            reason="Only the folder of a run, or one of its checkpoints, does.",
            hint="Usage: covtool finetune MODEL --init-from FILE --data DIR.",
        )
    model = rebuild(recipe)
    model.recipe = recipe
    return load_initial_(OpenedModel(model=model, recipe=recipe), source, weights=weights)


def load_initial_(opened: OpenedModel, source: str, *, weights: str) -> OpenedModel:
    """Give a model the weights of a file or a run, in place; its classifier may get other outputs.

    Args:
        opened: Model whose structure is kept.
        source: Folder of a run (its best epoch), one of its checkpoints, or any file of weights.
        weights: ``auto``, ``ema`` or ``raw``.

    Raises:
        CheckpointError: It cannot be read, or has other tensors than the model.
    """
    path = _state_file(Path(source))
    checkpoint = read_checkpoint(path, weights=weights)
    model, state = opened.model, _fitting_state(opened.model, checkpoint)
    recipe = _with_outputs_(opened, state, path)
    report = compare_keys(_shapes(model.state_dict()), _shapes(state))
    if report:
        raise CheckpointError(
            f"The weights of {path} do not fit the model.",
            reason=f"{_in_common(model, state)} of {len(model.state_dict())} tensors do.",
            hint="\n".join([*report.lines(), "Give as MODEL what that run was started with."]),
        )
    load_tensors_(model, state)
    require_finite(model, str(path))  # now, rather than as a loss of nan in the first update
    step = InitialWeightsStep(file=path.name, trained=_were_trained(checkpoint))
    provenance = recipe.provenance.with_step(step, covtool_version=__version__)
    recipe = recipe.model_copy(update={"provenance": provenance})
    model.recipe = recipe
    notes = opened.notes if opened.checkpoint else ()  # else they are about weights now replaced
    return OpenedModel(
        model=model,
        recipe=recipe,
        checkpoint=opened.checkpoint,
        identification=opened.identification,
        notes=(*notes, *checkpoint.notes, f"The weights are those of {path}."),
    )


def _state_file(path: Path) -> Path:
    """Find the file of weights: of a run's folder, the best epoch's state, else the last.

    Of ``RUN@epoch-3`` it is that state; its exported file, where there is no state of that name.
    """
    folder, choice = run_named(path)
    if choice:
        state = folder / STATES / f"{choice}.pt"
        return state if is_regular(state) else find_in_run(path)[0]
    if not is_folder(path):
        return path
    candidates = [path / STATES / f"{name}.pt" for name in (BEST, NEWEST)]
    found = next((file for file in candidates if is_regular(file)), None)
    if found is None:
        raise ArgumentError(
            f"--init-from {path} is not the folder of a run.",
            reason=f"{candidates[-1]} is missing.",
            hint="Give a run's folder, RUN@last, one of its checkpoints, or a file of weights.",
        )
    return found


def _recipe_of(state_file: Path) -> Recipe | None:
    """Read the recipe of the run that a checkpoint lies in; None where it lies in none."""
    path = state_file.parent.parent / RECIPE
    if state_file.parent.name != STATES or not os.path.lexists(path):
        return None
    return recipe_of_run(path)


def _recipe_in(state_file: Path) -> Recipe | None:
    """Read the recipe in a checkpoint that was moved out of its run; None where it has none."""
    saved = read_checkpoint(state_file).saved if is_regular(state_file) else None
    return None if saved is None else saved.recipe


def _were_trained(checkpoint: ForeignCheckpoint) -> bool:
    """Return whether a file says that its weights were trained with the operations they are of."""
    if checkpoint.saved is not None:
        of_run = checkpoint.saved.recipe
        before = of_run is not None and trained_as_they_are(of_run.provenance.steps)
        return checkpoint.saved.epoch > 0 or before
    if checkpoint.recipe is None:
        return False  # of another program: no word about what was done to them
    with suppress(ValueError):  # tensors that fit are enough to start from
        return trained_as_they_are(recipe_of_json(checkpoint.recipe).provenance.steps)
    return False


def _with_outputs_(opened: OpenedModel, state: dict[str, Tensor], path: Path) -> Recipe:
    """Give the classifier as many outputs as the weights have; return the recipe with them."""
    recipe, model = opened.recipe, opened.model
    head = find_head(model, recipe.input)
    weight = state.get(f"{head.classifier}.weight")
    of_run = _recipe_of(path)
    if weight is None or not _differs_in_outputs(model, head, weight):
        return recipe if of_run is None else _named(recipe, of_run)
    replace_classifier_(model, head, len(weight))
    fresh = recipe.model_copy(update={"num_classes": len(weight), "class_names": None})
    return fresh if of_run is None else _named(fresh, of_run)


def _named(recipe: Recipe, of_run: Recipe) -> Recipe:
    """Return the recipe with the class names of the run that the weights are from."""
    if of_run.num_classes != recipe.num_classes:
        return recipe
    return recipe.model_copy(update={"class_names": of_run.class_names})


def _differs_in_outputs(model: nn.Module, head: ClassifierHead, weight: Tensor) -> bool:
    own = model.get_submodule(head.classifier).weight
    return own.shape[1:] == weight.shape[1:] and len(own) != len(weight)


def _fitting_state(model: nn.Module, checkpoint: ForeignCheckpoint) -> dict[str, Tensor]:
    """Return the tensors under the prefix with which most of them are the model's."""
    own = set(model.state_dict())
    # A wrapper's prefix (``module.``, ``_orig_mod.``) may or may not be part of the names.
    readings = [reading.state for reading in checkpoint.readings()]
    return max(readings, key=lambda state: len(own & set(state)))


def _in_common(model: nn.Module, state: dict[str, Tensor]) -> int:
    own = _shapes(model.state_dict())
    return sum(own.get(name) == shape for name, shape in _shapes(state).items())


def _shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
