"""From a recipe to the structure it describes."""

from collections.abc import Callable
from typing import Any

from torch import nn

from covtool.backbones.create import create_model
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
from covtool.surgery.convolutions import apply_convolutions, plan_convolutions
from covtool.surgery.eigenlayer import apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import apply_head, plan_head
from covtool.surgery.instance_batch_norm import (
    apply_instance_batch_norm,
    plan_instance_batch_norm,
)
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride
from covtool.surgery.neck import apply_neck, plan_neck
from covtool.surgery.patch_stride import apply_patch_stride, plan_patch_stride
from covtool.surgery.stem import apply_stem, plan_stem


def rebuild(recipe: Recipe) -> nn.Module:
    """The model of a recipe, with weights that are yet to be loaded, in eval mode.

    Raises:
        CovtoolError: The installed libraries cannot build it.
    """
    model = create_model(recipe.base, num_classes=recipe.num_classes)
    for operation in recipe.operations:
        model = operate(model, operation, recipe.input, num_classes=recipe.num_classes)
    return model.eval()


def operate(
    model: nn.Module, operation: Operation, images: InputSpec, *, num_classes: int
) -> nn.Module:
    """A copy of `model` on which one operation of a recipe was done."""
    return _OPERATIONS[type(operation)](model, operation, images, num_classes)


def _head(model: nn.Module, spec: HeadSpec, images: InputSpec, num_classes: int) -> nn.Module:
    plan = plan_head(model, spec, images, num_classes=num_classes, recorded=True)
    return apply_head(model, plan)


def _convolutions(
    model: nn.Module, spec: ConvolutionSpec, images: InputSpec, num_classes: int
) -> nn.Module:
    return apply_convolutions(model, plan_convolutions(model, spec, images, recorded=True))


_Operate = Callable[[nn.Module, Operation, InputSpec, int], nn.Module]


def _planned(plan: Callable[..., Any], apply: Callable[..., nn.Module]) -> _Operate:
    """An operation that the images and nothing else decide about."""
    return lambda model, spec, images, num_classes: apply(model, plan(model, spec, images))


def _planned_alone(plan: Callable[..., Any], apply: Callable[..., nn.Module]) -> _Operate:
    """An operation that nothing but the model decides about."""
    return lambda model, spec, images, num_classes: apply(model, plan(model, spec))


_OPERATIONS: dict[type, _Operate] = {
    HeadSpec: _head,
    ConvolutionSpec: _convolutions,
    EigenlayerSpec: _planned(plan_eigenlayer, apply_eigenlayer),
    LastStrideSpec: _planned(plan_last_stride, apply_last_stride),
    NeckSpec: _planned(plan_neck, apply_neck),
    PatchStrideSpec: _planned(plan_patch_stride, apply_patch_stride),
    InstanceBatchNormSpec: _planned_alone(plan_instance_batch_norm, apply_instance_batch_norm),
    StemSpec: _planned_alone(plan_stem, apply_stem),
}
