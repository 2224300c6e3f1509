"""The linear layer that gives a model's logits, also where the rest of it is unknown."""

import torch
from torch import nn

from covtool.backbones.sites import find_sites
from covtool.errors import SurgeryError


def find_classifier(model: nn.Module, size: tuple[int, int], channels: int = 3) -> str:
    """Return the path of a model's classifier: as its sites say, else as timm declares it.

    Args:
        model: Left as it is.
        size: Height and width of the images that it expects.
        channels: Channels of these images.

    Raises:
        SurgeryError: There is no linear classifier, or the model does not run on such images.
    """
    try:
        return find_sites(model, size, channels).classifier
    except SurgeryError:
        declared = declared_classifier(model, size, channels)
        if declared is None:
            raise
        return declared


def declared_classifier(model: nn.Module, size: tuple[int, int], channels: int) -> str | None:
    """Return the path of the linear layer that timm calls the classifier; None where there is none.

    So it is, too, where the model does not run on such images.

    Args:
        model: Left as it is.
        size: Height and width of the images that it expects.
        channels: Channels of these images.
    """
    path = getattr(model, "pretrained_cfg", {}).get("classifier")
    # A tuple of paths means several classifiers.
    is_usable = isinstance(path, str) and _is_linear(model, path) and _runs(model, size, channels)
    return path if is_usable else None


def _is_linear(model: nn.Module, path: str) -> bool:
    try:
        return isinstance(model.get_submodule(path), nn.Linear)
    except AttributeError:
        return False


def _runs(model: nn.Module, size: tuple[int, int], channels: int) -> bool:
    image = torch.zeros(1, channels, *size)
    try:
        with torch.no_grad():
            model(image.to(next(model.parameters())))
    # torch's errors of shapes, and the checks of timm and torchvision.
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True
