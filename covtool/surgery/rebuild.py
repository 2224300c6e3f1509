"""From a recipe to the structure it describes."""

from torch import nn

from covtool.backbones.create import create_model
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    InstanceBatchNormSpec,
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
    if isinstance(operation, HeadSpec):
        plan = plan_head(model, operation, images, num_classes=num_classes)
        return apply_head(model, plan)
    if isinstance(operation, ConvolutionSpec):
        return apply_convolutions(model, plan_convolutions(model, operation, images, recorded=True))
    if isinstance(operation, EigenlayerSpec):
        return apply_eigenlayer(model, plan_eigenlayer(model, operation, images))
    if isinstance(operation, NeckSpec):
        return apply_neck(model, plan_neck(model, operation, images))
    if isinstance(operation, InstanceBatchNormSpec):
        return apply_instance_batch_norm(model, plan_instance_batch_norm(model, operation))
    if isinstance(operation, StemSpec):
        return apply_stem(model, plan_stem(model, operation))
    if isinstance(operation, PatchStrideSpec):
        return apply_patch_stride(model, plan_patch_stride(model, operation, images))
    return apply_last_stride(model, plan_last_stride(model, operation, images))
