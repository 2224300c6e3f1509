"""covtool's own runs as models: the states that a run is resumed from."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from covtool.checkpoints import model_file
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.run_models import BEST
from covtool.checkpoints.saved_states import SavedState
from covtool.errors import CheckpointError
from covtool.run_files import EXPORTED, RECIPE
from covtool.specs import Recipe
from covtool.specs.provenance import SavedStateStep


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
    checkpoint: ForeignCheckpoint
    notes: tuple[str, ...] = ()


def model_of_state(checkpoint: ForeignCheckpoint) -> OwnModel:
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
    resolved = (
        "Its classifier is the trained one; the models that the run exported have one that was "
        "solved anew.",
    )
    return OwnModel(
        model=model,
        recipe=recipe,
        checkpoint=checkpoint,
        notes=(
            f"{path} is the state of a covtool run after {epochs}.",
            *(resolved if saved.resolved else ()),
            *checkpoint.notes,
        ),
    )


def _with_history(saved: SavedState, path: Path) -> Recipe:
    recipe, step = saved.recipe, SavedStateStep(file=path.name, epochs=saved.epoch)
    if not saved.epoch:
        return recipe.model_copy(update={"provenance": recipe.provenance.with_step(step)})
    # The recipe is that of the model before the run: since then everything was trained, and
    # what was measured or chosen is of other weights.
    trained = recipe.provenance.with_step(step, untrained=(), metrics=())
    changed = {"provenance": trained, "scores": None, "neighbors": None}
    return recipe.model_copy(update=changed)
