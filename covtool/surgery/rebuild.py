"""From a recipe to the structure it describes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from covtool.backbones.create import create_model, create_skeleton
from covtool.backbones.model_size import require_room, tensor_bytes, without_weights
from covtool.errors import ArgumentError, CheckpointError, reason_of
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
    LastStrideSpec,
    NeckSpec,
    Operation,
    PatchStrideSpec,
    Recipe,
    StemSpec,
)
from covtool.surgery.convolutions import (
    ConvolutionsPlan,
    apply_convolutions,
    plan_convolutions,
)
from covtool.surgery.eigenlayer import apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import HeadPlan, apply_head, plan_head
from covtool.surgery.instance_batch_norm import (
    apply_instance_batch_norm,
    plan_instance_batch_norm,
)
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride
from covtool.surgery.neck import apply_neck, plan_neck
from covtool.surgery.patch_stride import apply_patch_stride, plan_patch_stride
from covtool.surgery.stem import apply_stem, plan_stem

_Plan = Any
_Apply = Callable[[nn.Module, _Plan], nn.Module]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """How a recipe is followed, found out without memory for weights.

    Attributes:
        recipe: What is followed.
        skeleton: The model that comes of it, on the meta device.
        steps: For each operation what it does, and its plan.
    """

    recipe: Recipe
    skeleton: nn.Module
    steps: tuple[tuple[_Apply, _Plan], ...]

    def build(self) -> nn.Module:
        """Return the model, with weights that are yet to be loaded, in eval mode."""
        model = create_model(self.recipe.base, num_classes=self.recipe.num_classes, counted=True)
        for apply, plan in self.steps:
            model = apply(model, plan)
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
        skeleton = create_skeleton(recipe.base, num_classes=recipe.num_classes)
        _require_room(recipe, skeleton)
        skeleton, steps = _operated(skeleton, recipe)
        _require_room(recipe, skeleton)
    except ArgumentError as problem:
        raise CheckpointError(
            problem.message, reason=problem.reason, hint=problem.hint
        ) from problem
    return Blueprint(recipe=recipe, skeleton=skeleton.eval(), steps=tuple(steps))


def _operated(model: nn.Module, recipe: Recipe) -> tuple[nn.Module, list[tuple[_Apply, _Plan]]]:
    """Return a model on the meta device after the operations of its recipe, and what they did."""
    steps = []
    with without_weights():
        for number, operation in enumerate(recipe.operations, start=1):
            plan, apply = _OPERATIONS[type(operation)]
            try:
                planned = plan(model, operation, recipe.input, recipe.num_classes)
                model = apply(model, planned)
            except Exception as problem:  # timm's code too, about a network unknown to it
                raise _unfit(recipe, number, problem) from problem
            steps.append((apply, planned))
    return model, steps


def operate(
    model: nn.Module, operation: Operation, images: InputSpec, *, num_classes: int
) -> nn.Module:
    """Return a copy of `model` on which one operation of a recipe was done."""
    plan, apply = _OPERATIONS[type(operation)]
    return apply(model, plan(model, operation, images, num_classes))


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


def _plan_head(model: nn.Module, spec: HeadSpec, images: InputSpec, num_classes: int) -> HeadPlan:
    return plan_head(model, spec, images, num_classes=num_classes, recorded=True)


def _plan_convolutions(
    model: nn.Module, spec: ConvolutionSpec, images: InputSpec, num_classes: int
) -> ConvolutionsPlan:
    return plan_convolutions(model, spec, images, recorded=True)


_MakePlan = Callable[[nn.Module, Operation, InputSpec, int], _Plan]


def _by_images(plan: Callable[..., _Plan]) -> _MakePlan:
    """Of an operation that the images and nothing else decide about."""
    return lambda model, spec, images, num_classes: plan(model, spec, images)


def _alone(plan: Callable[..., _Plan]) -> _MakePlan:
    """Of an operation that nothing but the model decides about."""
    return lambda model, spec, images, num_classes: plan(model, spec)


_OPERATIONS: dict[type, tuple[_MakePlan, _Apply]] = {
    HeadSpec: (_plan_head, apply_head),
    ConvolutionSpec: (_plan_convolutions, apply_convolutions),
    EigenlayerSpec: (_by_images(plan_eigenlayer), apply_eigenlayer),
    LastStrideSpec: (_by_images(plan_last_stride), apply_last_stride),
    NeckSpec: (_by_images(plan_neck), apply_neck),
    PatchStrideSpec: (_by_images(plan_patch_stride), apply_patch_stride),
    InstanceBatchNormSpec: (_alone(plan_instance_batch_norm), apply_instance_batch_norm),
    StemSpec: (_alone(plan_stem), apply_stem),
}
