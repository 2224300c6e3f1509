"""The structure that a recipe describes, built again."""

from dataclasses import dataclass

from torch import nn

from covtool.backbones.create import create_model, create_skeleton
from covtool.backbones.model_size import require_room, tensor_bytes, without_weights
from covtool.errors import ArgumentError, CheckpointError, reason_of
from covtool.specs import InputSpec, Operation, Recipe
from covtool.surgery.operations import OPERATIONS, PlanContext, PlannedOperation, plan_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """How a recipe is followed, found out without memory for weights.

    Attributes:
        recipe: The recipe.
        skeleton: The model that comes of it, on the meta device.
        steps: The operations, each with its plan.
    """

    recipe: Recipe
    skeleton: nn.Module
    steps: tuple[PlannedOperation, ...]

    def build(self) -> nn.Module:
        """Return the model, with weights that are yet to be loaded, in eval mode."""
        # `blueprint` has counted the skeleton, with the operations: once is enough.
        model = create_model(self.recipe.base, num_classes=self.recipe.num_classes, counted=True)
        for step in self.steps:
            model = step.apply(model)
        return model.eval()


def rebuild(recipe: Recipe) -> nn.Module:
    """Return the model of a recipe, with weights that are yet to be loaded, in eval mode.

    Raises:
        CheckpointError: As `blueprint`.
    """
    return blueprint(recipe).build()


def blueprint(recipe: Recipe) -> Blueprint:
    """Find out how a recipe is followed, and what comes of it; on the meta device.

    Raises:
        CheckpointError: The installed libraries cannot build it, an operation does not fit the
            model, or the model is larger than the limit of `covtool.model_limit`.
    """
    try:
        # Counted twice: a head of many classes, or an operation, may be what does not fit.
        skeleton = create_skeleton(recipe.base, num_classes=recipe.num_classes)
        _require_room(recipe, skeleton)
        skeleton, steps = _operated(skeleton, recipe)
        _require_room(recipe, skeleton)
    # The arguments are the file's: the fault is not that of a flag.
    except ArgumentError as problem:
        raise CheckpointError(
            problem.message, reason=problem.reason, hint=problem.hint
        ) from problem
    return Blueprint(recipe=recipe, skeleton=skeleton.eval(), steps=tuple(steps))


def _operated(model: nn.Module, recipe: Recipe) -> tuple[nn.Module, list[PlannedOperation]]:
    """Return a model on the meta device after the operations of its recipe, and their plans."""
    steps: list[PlannedOperation] = []
    context = PlanContext(images=recipe.input, num_classes=recipe.num_classes, recorded=True)
    # Operations make layers too: these take no memory either.
    with without_weights():
        for number, operation in enumerate(recipe.operations, start=1):
            try:
                step = plan_step(model, operation, context)
                model = step.apply(model)
            except Exception as problem:  # timm's code too, about a network unknown to it
                raise _unfit(recipe, number, problem) from problem
            steps.append(step)
    return model, steps


def operate(
    model: nn.Module, operation: Operation, images: InputSpec, *, num_classes: int
) -> nn.Module:
    """Return a copy of `model` on which one operation of a recipe was done."""
    row = OPERATIONS[operation.operation]
    return row.rebuild(model, operation, images, num_classes=num_classes)


def _require_room(recipe: Recipe, model: nn.Module) -> None:
    require_room(f"{recipe.base.library}'s {recipe.base.name}", tensor_bytes(model))


def _unfit(recipe: Recipe, number: int, problem: Exception) -> CheckpointError:
    kind, base = recipe.operations[number - 1].operation, recipe.base
    return CheckpointError(
        f"Operation {number} of the recipe, {kind}, cannot be done on {base.library}'s "
        f"{base.name}.",
        reason=reason_of(problem),
        hint="The recipe was changed by hand, or the installed library builds this architecture "
        "differently.",
    )
