"""Sizes of images: which an architecture is built for, which it insists on, and another one."""

from functools import cache
from inspect import signature

import torch
from timm.models import get_pretrained_cfg, is_model
from torch import nn
from torchvision import models as torchvision_models

from covtool.errors import ArgumentError
from covtool.specs import BaseSpec


@cache
def native_size(library: str, name: str) -> tuple[int, int] | None:
    """Return the (height, width) that an architecture is built for by default; None if unknown."""
    if library == "timm":
        config = get_pretrained_cfg(name) if is_model(name) else None
        return tuple(config.input_size[1:]) if config is not None else None
    # No other network of torchvision's has absolute positions, which fix the size.
    if not name.startswith("vit_"):
        return None
    size = torchvision_models.get_model_weights(name).DEFAULT.meta["min_size"]
    return tuple(size)


def fixed_size(base: BaseSpec) -> tuple[int, int] | None:
    """Return the only (height, width) that an architecture takes; None where it takes others."""
    size = arguments_size(base)
    if size is not None or base.library != "timm":
        return size
    config = get_pretrained_cfg(base.name)
    return config.input_size[1:] if config is not None and config.fixed_input_size else None


def arguments_size(base: BaseSpec) -> tuple[int, int] | None:
    """Return the (height, width) that a recipe builds an architecture for; None without one."""
    size = base.arguments.get("img_size")
    if size is None:
        return None
    # Recipes have lists; sizes are compared as tuples.
    return (size, size) if isinstance(size, int) else tuple(size)


def take_size_(model: nn.Module, base: BaseSpec, size: tuple[int, int], channels: int) -> BaseSpec:
    """Let a model take images of a size, in place, and return its architecture then.

    Most models take any size. Of those that do not, timm resamples the position embeddings, where
    nothing but these depends on the size; windows do as well, and change what the model is.

    Args:
        model: Model of that architecture, operated on or not.
        base: The architecture.
        size: Height and width, in pixels.
        channels: Channels of the images.

    Returns:
        `base`, with ``img_size`` among its arguments where the model was changed.

    Raises:
        ArgumentError: The model does not take such images.
    """
    # Asked of the model itself: no table says which architectures take any size.
    problem = _problem(model, size, channels)
    if problem is None:
        return base
    resample = getattr(model, "set_input_size", None)
    if base.library == "timm" and resample is not None and not _has_windows(resample):
        try:
            resample(img_size=size)
        except (AssertionError, RuntimeError, ValueError) as failure:
            raise _refused(base, size, failure) from failure
        problem = _problem(model, size, channels)
    if problem is not None:
        raise _refused(base, size, problem) from problem
    return base.model_copy(update={"arguments": {**base.arguments, "img_size": list(size)}})


def _has_windows(resample: object) -> bool:
    return "window_size" in signature(resample).parameters


def _problem(model: nn.Module, size: tuple[int, int], channels: int) -> Exception | None:
    """Return what the model says of a black image of that size; None where it takes it."""
    image = torch.zeros(1, channels, *size).to(next(model.parameters()))
    try:
        with torch.no_grad():
            model(image)
    except (AssertionError, RuntimeError, ValueError) as problem:
        return problem
    return None


def _refused(base: BaseSpec, size: tuple[int, int], problem: Exception) -> ArgumentError:
    return ArgumentError(
        f"{base.name} does not take images of {size[0]}x{size[1]}.",
        reason=str(problem).strip().partition("\n")[0] or type(problem).__name__,
        hint="Leave --img-size out, or give a size that the architecture can be built for.",
    )
