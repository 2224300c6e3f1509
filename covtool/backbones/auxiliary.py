"""Auxiliary heads, which Inception v3 and GoogLeNet have for training from scratch.

Beside the logits, a forward pass in training returns theirs; in evaluation nothing uses them.
covtool leaves them out: a network that starts from trained weights does without.
"""

from pathlib import Path

from torch import nn
from torchvision import models as torchvision_models

from covtool.specs import BaseSpec

AUXILIARY = ("AuxLogits", "aux1", "aux2")  # modules, as torchvision and timm call them
ARGUMENT = "aux_logits"

_BUILT_BY_DEFAULT = {"torchvision": ("inception_v3", "googlenet"), "timm": ()}


def is_auxiliary(name: str) -> bool:
    """Return whether a tensor or a module of that name belongs to an auxiliary head."""
    return name.partition(".")[0] in AUXILIARY


def has_auxiliary(base: BaseSpec) -> bool:
    """Return whether the library builds an architecture with auxiliary heads."""
    return base.arguments.get(ARGUMENT, base.name in _BUILT_BY_DEFAULT[base.library]) is not False


def without_auxiliary(base: BaseSpec) -> BaseSpec:
    """Return an architecture without its auxiliary heads; one that has none, as it is."""
    if not has_auxiliary(base):
        return base
    return base.model_copy(update={"arguments": {**base.arguments, ARGUMENT: False}})


def drop_auxiliary_(model: nn.Module) -> None:
    """Take the auxiliary heads off a model, in place, as torchvision does itself."""
    for name in AUXILIARY:
        if isinstance(getattr(model, name, None), nn.Module):
            setattr(model, name, None)
    # Its forward pass asks this flag before it looks for the heads.
    if hasattr(model, ARGUMENT):
        model.aux_logits = False


def transforms_input(base: BaseSpec) -> bool:
    """Return whether torchvision may build an architecture that changes its images itself.

    Its published weights of Inception v3 and GoogLeNet are TensorFlow's, for a mean and a
    deviation of 0.5; ``transform_input`` takes them there from ImageNet's.
    """
    return base.library == "torchvision" and base.name in _BUILT_BY_DEFAULT["torchvision"]


def is_published(base: BaseSpec, path: Path) -> bool:
    """Return whether a file is named like torchvision's weights of an architecture."""
    weights = torchvision_models.get_model_weights(base.name)
    return path.stem in {Path(row.url).stem for row in weights}
