"""The modules that surgery works on: their types, attributes and places."""

from typing import TypeVar

from torch import nn

from covtool.layers.feature_tap import move_taps
from covtool.specs import Recipe

M = TypeVar("M", bound=nn.Module)


class TimmModel(nn.Module):
    """Attributes that timm's models have beside their modules, for the type checker alone.

    torch's types allow a module no attributes but tensors and modules. No model is made of this
    class, and none inherits from it.

    Attributes:
        num_classes: Outputs of the classifier.
        head_hidden_size: Length of what enters the classifier.
        global_pool: Word for the pooling, or the pooling itself.
        recipe: Recipe of a converted model; None where it no longer holds.
    """

    num_classes: int
    head_hidden_size: int
    global_pool: str | nn.Module
    recipe: Recipe | None


def module_at(model: nn.Module, path: str, kind: type[M]) -> M:
    """Return the module at a path at which a plan found one of a kind."""
    module = model.get_submodule(path)
    # A path without such a module is a plan of another model: our own mistake, not the user's.
    assert isinstance(module, kind), f"{path} is a {type(module).__name__}"
    return module


def update_attributes_(model: nn.Module, **values: int) -> None:
    """Set those attributes that a model has already: torchvision's have none of timm's."""
    for name, value in values.items():
        if hasattr(model, name):
            setattr(model, name, value)


def replace_(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put a module in another's place, where a head that taps the old one finds it."""
    move_taps(model.get_submodule(path), new)
    model.set_submodule(path, new)
