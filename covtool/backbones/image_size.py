"""Models that are built for one size of images, at another."""

from inspect import signature

import torch
from torch import nn

from covtool.errors import ArgumentError
from covtool.specs import BaseSpec


def take_size_(model: nn.Module, base: BaseSpec, size: tuple[int, int], channels: int) -> BaseSpec:
    """Let a model take images of a size, in place; its architecture then.

    Most models take any size. Of those that do not, timm resamples the position embeddings, where
    nothing but these depends on the size; windows do as well, and change what the model is.

    Args:
        model: Of that architecture, operated on or not.
        base: The architecture.
        size: Height and width, in pixels.
        channels: Of the images.

    Returns:
        `base`, with ``img_size`` among its arguments where the model was changed.

    Raises:
        ArgumentError: The model does not take such images.
    """
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
