"""The comparison of two models, or of two runs, whichever is named."""

from dataclasses import dataclass
from pathlib import Path

from covtool.differences.recipes import RecipeDifference, compare_recipes
from covtool.differences.runs import RunDifference, compare_runs, is_run
from covtool.differences.sides import Side, named_as_network, side_of
from covtool.differences.tensors import TensorDifference, compare_tensors
from covtool.progress import Track, silent

SHARED = 0.5
"""Share of the names of a model that another one of its code base has at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """Differences between two models.

    Attributes:
        before: Name of the first.
        after: Name of the second.
        recipe: Differences of their recipes; None where one is not recognized.
        tensors: All tensors, those that are equal among them.
        notes: Choices, in sentences.
    """

    before: str
    after: str
    recipe: RecipeDifference | None
    tensors: tuple[TensorDifference, ...]
    notes: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        recipes = self.recipe is not None and self.recipe.differs
        return recipes or any(one.kind != "equal" for one in self.tensors)


def compare(before: str, after: str, *, track: Track = silent) -> ModelDifference | RunDifference:
    """Compare two models, or two runs by their folders.

    Of a run beside a model, the best exported model is compared.

    Args:
        before: A covtool file, a run's folder, ``RUN@last``, a state, a checkpoint or a name.
        after: The other one.
        track: Display of the progress.

    Raises:
        CheckpointError: One of them cannot be read.
        ArgumentError: The settings of a run cannot be read.
        DataError: A log of a run is damaged.
    """
    if is_run(before) and is_run(after):
        return compare_runs(Path(before), Path(after))
    one, two = _with_common_names(side_of(before, track), side_of(after, track), track)
    recipe, notes = None, [*one.notes, *two.notes]
    if one.recipe is not None and two.recipe is not None:
        recipe = compare_recipes(one.recipe, two.recipe)
    for side in (one, two):
        if side.recipe is not None and side.is_recognized:
            notes.append(f"What {side.name} is was recognized; the file does not say it.")
    tensors = compare_tensors(one.tensors, two.tensors, track=track)
    if not any(tensor.before and tensor.after for tensor in tensors):
        notes.append("The models have no tensor of the same name.")
    return ModelDifference(
        before=before,
        after=after,
        recipe=recipe,
        tensors=tensors,
        notes=tuple(dict.fromkeys(notes)),
    )


def _with_common_names(one: Side, two: Side, track: Track) -> tuple[Side, Side]:
    """Return both sides, with the names of networks where few of the files' own are shared."""
    # Two code bases may both call their last layer `classifier`, and nothing else alike.
    shared = len(one.tensors.keys() & two.tensors.keys())
    if shared > SHARED * min(len(one.tensors), len(two.tensors)):
        return one, two
    return tuple(
        named_as_network(side, track) if side.is_recognized and side.recipe is not None else side
        for side in (one, two)
    )
