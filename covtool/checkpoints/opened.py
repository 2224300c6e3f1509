"""A model that was opened, with where it comes from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from covtool.checkpoints.foreign import ForeignCheckpoint
from covtool.checkpoints.identification import Identification
from covtool.errors import ArgumentError, CheckpointError
from covtool.progress import Track, silent
from covtool.specs import InputSpec, ModelSource, Recipe
from covtool.specs.problems import first_problem
from covtool.surgery.describing import attach_recipe

AS_NEW_WORK = {"exif": True}
"""Fields of `InputSpec` for what is not a covtool file yet; files keep what they were made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A model to open; see `open_model`.

    Attributes:
        source: The model.
        num_classes: Outputs of the classifier; None for those of the source.
        track: Display of the progress.
    """

    source: ModelSource
    num_classes: int | None = None
    track: Track = silent

    @property
    def new_images(self) -> dict[str, Any]:
        """Fields of `InputSpec` for what is not a covtool file yet."""
        return {**AS_NEW_WORK, **self.source.input}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model, and where it comes from.

    Attributes:
        model: In eval mode, on the CPU.
        recipe: Recipe of the model.
        checkpoint: The file it was read from; None for a name.
        identification: Result of the recognition; None where nothing had to be recognized.
        notes: Choices that may surprise, in sentences.
        made: The images that a covtool file was calibrated or trained on; None for other sources.
        is_far: Whether its images are so far from those that figures say little.
    """

    model: nn.Module
    recipe: Recipe
    checkpoint: ForeignCheckpoint | None = None
    identification: Identification | None = None
    notes: tuple[str, ...] = ()
    made: InputSpec | None = None
    is_far: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether it was read from a file of another program."""
        file = self.checkpoint
        return file is not None and file.recipe is None and file.saved is None

    @property
    def is_own(self) -> bool:
        """Whether it was read from a covtool file."""
        return self.checkpoint is not None and self.checkpoint.recipe is not None

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What its recipe rests on, in sentences: nothing for a covtool file, which states it."""
        return () if self.is_own else self.notes


def opened(model: nn.Module, recipe: Recipe, **others: Any) -> OpenedModel:
    """Return the opened model, with its recipe on it."""
    attach_recipe(model, recipe)
    return OpenedModel(model=model, recipe=recipe, **others)


def require_trained_classifier(source: str | Path, recipe: Recipe) -> None:
    """Refuse to measure what a random classifier answers.

    Args:
        source: Name of the model.
        recipe: Recipe of the model.

    Raises:
        CheckpointError: The classifier has random weights.
    """
    untrained = recipe.provenance.untrained
    if "classifier" not in untrained:
        return
    what = "network has random weights" if "network" in untrained else "classifier is random"
    raise CheckpointError(
        f"{source} has no trained classifier: what it answers is random.",
        reason=f"Nothing that was read says which features mean which class: its {what}.",
        hint="Train it with covtool finetune, or solve for a classifier with covtool convert "
        "--head gap --calibrate DIR. Its features can be used as they are: covtool embed.",
    )


def replaced(images: InputSpec, overrides: dict[str, Any]) -> InputSpec:
    """Return the images with some of their fields set.

    Raises:
        ArgumentError: A field cannot have such a value.
    """
    try:
        return InputSpec.model_validate({**images.model_dump(), **overrides})
    except ValidationError as problem:
        raise ArgumentError(f"No model takes such images: {first_problem(problem)}.") from problem
