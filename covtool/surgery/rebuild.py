"""From a recipe to the structure it describes."""

from torch import nn

from covtool.backbones.create import create_model
from covtool.specs import (
    ConvolutionSpec,
    EigenlayerSpec,
    HeadSpec,
    InputSpec,
    Operation,
    Recipe,
)
from covtool.surgery.convolutions import apply_convolutions, plan_convolutions
from covtool.surgery.eigenlayer import apply_eigenlayer, plan_eigenlayer
from covtool.surgery.head import apply_head, plan_head
from covtool.surgery.last_stride import apply_last_stride, plan_last_stride


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
        plan = plan_head(model, operation, images, num_classes=num_classes, recorded=True)
        return apply_head(model, plan)
    if isinstance(operation, ConvolutionSpec):
        return apply_convolutions(model, plan_convolutions(model, operation, images, recorded=True))
    if isinstance(operation, EigenlayerSpec):
        return apply_eigenlayer(model, plan_eigenlayer(model, operation, images))
    return apply_last_stride(model, plan_last_stride(model, operation, images))
