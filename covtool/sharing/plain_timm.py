"""Models that timm builds by itself, and the reasons why another one is not such a model."""

from pathlib import Path

from torch import nn

from covtool.backbones.create import create_skeleton
from covtool.errors import CovtoolError
from covtool.safetensors_header import read_header
from covtool.specs import ConvolutionSpec, HeadSpec, Operation, Recipe

_WORDS = {
    "last-stride": "Its last downsampling has another stride",
    "eigenlayer": "It has an Eigenlayer before its classifier",
    "neck": "It has layers between its pooling and its classifier",
    "ibn": "Some of its batch norms are instance norms in part",
    "stem": "Its stem was changed",
    "patch-stride": "Its patches have another stride",
}


def why_not_plain(model: nn.Module) -> str | None:
    """Return why timm alone cannot build a model, in a sentence; None where it can.

    Args:
        model: Model with its recipe as ``.recipe``.
    """
    recipe: Recipe = model.recipe
    if recipe.base.library != "timm":
        return f"Its architecture is {recipe.base.library}'s {recipe.base.name}, not one of timm."
    for operation in recipe.operations:
        reason = _reason(operation)
        if reason is not None:
            return f"{reason}, which timm does not build."
    return _other_tensors(model, recipe)


def why_timm_does_not_open(model: nn.Module, path: Path) -> str | None:
    """Return why timm alone does not open a covtool file, in a sentence; None where it does.

    Args:
        model: Model of the file, with its recipe as ``.recipe``.
        path: The file.
    """
    reason = why_not_plain(model)
    # timm refuses a tensor too many, such as the embeddings that tell other classes.
    if reason is None and set(read_header(path).entries) != set(model.state_dict()):
        return "The file keeps more than weights, embeddings of training images for example."
    return reason


def _reason(operation: Operation) -> str | None:
    """Return what an operation leaves that timm has no name for; None where it is nothing."""
    if isinstance(operation, HeadSpec):
        if operation.head != "gap":
            return f"Its head is {operation.head}"
        # What is new beside timm's own average is a classifier of its usual kind.
        return None if operation.own_average else "Its gap head pools another map, or reduces it"
    if isinstance(operation, ConvolutionSpec):
        return f"Its convolutions are {operation.conv} operators"
    return _WORDS.get(operation.operation, f"It has the operation {operation.operation}")


def _other_tensors(model: nn.Module, recipe: Recipe) -> str | None:
    """Return the first tensor that timm's model does not have alike; None where all are."""
    try:
        built = create_skeleton(recipe.base, num_classes=recipe.num_classes).state_dict()
    except CovtoolError as problem:
        return f"timm does not build {recipe.base.name}: {problem.message}"
    own = model.state_dict()
    differ = [
        name
        for name in (*own, *built)
        if name not in own or name not in built or own[name].shape != built[name].shape
    ]
    return f"timm's {recipe.base.name} has no such tensor as {differ[0]}." if differ else None
