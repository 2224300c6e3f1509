"""The check that there is memory for a model on its images."""

from torch import nn

from covtool.backbones.image_size import native_size
from covtool.backbones.library_input import default_input
from covtool.backbones.model_size import activation_bytes, require_room, tensor_bytes
from covtool.model_limit import is_limit_set
from covtool.specs import InputSpec, Recipe


def require_room_for_images(model: nn.Module, recipe: Recipe, what: str) -> None:
    """Refuse images for which a model would take more memory than the limit.

    What is usual in every respect is not counted: its library runs it so.

    Args:
        model: Model of the recipe, on any device; left as it is.
        recipe: Recipe of the model; its images are those that it gets.
        what: The model, in words.

    Raises:
        CheckpointError: It would.
        ArgumentError: The model does not run on such images.
    """
    images = recipe.input
    if _is_usual(recipe):
        return
    needed = tensor_bytes(model) + activation_bytes(model, images.channels, images.size)
    if may_be_large(recipe):
        require_room(f"{what}, on images of {images.size[0]}x{images.size[1]},", needed)


def may_be_large(recipe: Recipe) -> bool:
    """Return whether images may take more than its architecture usually does, or a limit is set.

    At its usual size an architecture takes as much as it takes.
    """
    base, images = recipe.base, recipe.input
    usual = native_size(base.library, base.name) or InputSpec().size
    larger = images.size[0] * images.size[1] > usual[0] * usual[1]
    return larger or bool(base.arguments or recipe.operations) or is_limit_set()


def _is_usual(recipe: Recipe) -> bool:
    """Return whether architecture and images are as the library has them."""
    base, images = recipe.base, recipe.input
    if base.arguments or recipe.operations or is_limit_set():
        return False
    default = default_input(base)
    return (images.channels, images.size) == (default.channels, default.size)
