"""Sizes of images that a network with position embeddings is built for, and others."""

import math
from functools import cache

from timm.models import get_pretrained_cfg, is_model
from torch import nn
from torchvision import models as torchvision_models

from covtool.errors import ArgumentError
from covtool.specs import BaseSpec

Size = tuple[int, int]


@cache
def native_size(library: str, name: str) -> Size | None:
    """Height and width that an architecture is built for by default; None where nothing says."""
    if library == "timm":
        config = get_pretrained_cfg(name) if is_model(name) else None
        return tuple(config.input_size[1:]) if config is not None else None
    if not name.startswith("vit_"):
        return None
    size = torchvision_models.get_model_weights(name).DEFAULT.meta["min_size"]
    return tuple(size)


def resized(model: nn.Module, base: BaseSpec, size: Size) -> tuple[BaseSpec, str | None]:
    """Give a network with position embeddings another size, in place, by timm's own resampling.

    Args:
        model: As `create_model` returns it.
        base: Its architecture.
        size: Height and width of the images, in pixels.

    Returns:
        The architecture that is built for that size, and a sentence that says so. Both are as they
        were where the network takes images of that size as it is.

    Raises:
        ArgumentError: The network cannot be given that size.
    """
    own = _strict_size(model)
    if own is None or own == size:
        return base, None
    if base.library != "timm" or not hasattr(model, "set_input_size"):
        raise _cannot(base, own, size, "It has no position embeddings that can be resampled.")
    try:
        model.set_input_size(img_size=size)
    except (AssertionError, ValueError, RuntimeError, TypeError) as problem:
        raise _cannot(base, own, size, str(problem) or "The size does not fit.") from problem
    arguments = {**base.arguments, "img_size": list(size)}
    return base.model_copy(update={"arguments": arguments}), (
        f"The network is made for images of {own[0]}x{own[1]} px; its position embeddings are "
        f"resampled for {size[0]}x{size[1]}."
    )


def _strict_size(model: nn.Module) -> Size | None:
    """The only size of images that a network takes; None where it takes others as well."""
    patches = getattr(model, "patch_embed", None)
    if getattr(patches, "strict_img_size", False) and getattr(patches, "img_size", None):
        return tuple(patches.img_size)
    size = getattr(model, "image_size", None)  # torchvision's ViT
    return (size, size) if isinstance(size, int) else None


def _cannot(base: BaseSpec, own: Size, size: Size, reason: str) -> ArgumentError:
    near = ", ".join(f"{math.ceil(side / 32) * 32}" for side in size)
    return ArgumentError(
        f"{base.name} cannot take images of {size[0]}x{size[1]} px.",
        reason=reason,
        hint=f"Leave --img-size out for {own[0]}x{own[1]}, or try a multiple of its patches: "
        f"{near}.",
    )
