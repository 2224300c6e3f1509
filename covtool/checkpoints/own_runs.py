"""covtool's own runs as models: a run's folder, and the states that it is resumed from."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from covtool.checkpoints import model_file
from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.places import is_run, is_there
from covtool.checkpoints.saved_states import SavedState
from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.regular_files import is_regular
from covtool.run_files import EXPORTED, RECIPE, STATES, is_repeats, named_runs
from covtool.specs import Recipe
from covtool.specs.provenance import SavedStateStep

BEST, LAST = "best", "last"

_CHOICE = "@"  # RUN@last


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


def find_in_run(source: str | Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the file that stands for a run: its best exported model, or what is asked for.

    Args:
        source: A run's folder; with ``@last``, ``@best`` or ``@epoch-3`` behind it that model.

    Returns:
        The file, and a note that says so; None and nothing where `source` is not a run.

    Raises:
        CheckpointError: The run has no such model, or there are several runs.
    """
    folder, choice = run_named(source)
    if folder is None:
        return None, ()
    found = [folder / EXPORTED / f"{name}.safetensors" for name in (choice or BEST, choice or LAST)]
    found.append(folder / STATES / f"{choice or BEST}.pt")  # the same model, should it be gone
    path = next((path for path in found if is_regular(path)), None)
    if path is None:
        raise _nothing_in(folder, choice)
    other = f"; {folder}{_CHOICE}{LAST} takes the last" if path.stem == BEST and not choice else ""
    return path, (f"Of the run {folder}, {path.relative_to(folder)} is taken{other}.",)


def run_named(source: str | Path) -> tuple[Path | None, str]:
    """Return a run's folder and the model of it that is asked for; None without such a run.

    Args:
        source: See `find_in_run`.

    Raises:
        CheckpointError: It is a folder of several runs.
    """
    refuse_several(source)
    if is_run(Path(source)):
        return Path(source), ""
    folder, _, choice = str(source).rstrip("/").rpartition(_CHOICE)
    chosen = folder and choice and is_run(Path(folder)) and not is_there(Path(source))
    return (Path(folder), choice) if chosen else (None, "")


def refuse_several(source: str | Path) -> None:
    """Refuse a folder of several runs, which is not one model.

    Args:
        source: Any name of a model, perhaps with ``@last`` behind it.

    Raises:
        CheckpointError: It is such a folder; the runs in it are named.
    """
    for folder in (str(source), str(source).rstrip("/").rpartition(_CHOICE)[0]):
        if folder and is_repeats(Path(folder)):
            raise CheckpointError(
                f"{printable(folder, longest=400)} is a folder of several runs, each with a model "
                "of its own.",
                reason=f"They are: {named_runs(Path(folder))}.",
                hint="Choose one of them; covtool diff RUNS --against RUNS compares their figures.",
            )


def _nothing_in(folder: Path, choice: str) -> CheckpointError:
    exported = sorted((folder / EXPORTED).glob("*.safetensors"))
    states = sorted((folder / STATES).glob("*.pt"))
    there = ", ".join(dict.fromkeys(path.stem for path in (*exported, *states)))
    if choice:
        return CheckpointError(
            f"The run {folder} has no model called {printable(choice, longest=100)}.",
            reason=f"It has {there or 'none yet'}.",
            hint=f"Give the folder alone for the best one, or {folder}{_CHOICE}{LAST}.",
        )
    resume = f"Go on with: covtool finetune --resume {folder}."
    return CheckpointError(
        f"The run {folder} has no exported model yet.",
        reason="Its first epoch is not done, or the files in it were removed.",
        hint=f"{resume} Or take the state as it is: {states[0]}." if states else resume,
    )


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
