"""A model that is trained returns its logits, and nothing beside them."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from covtool.backbones.module_modes import modes_restored
from covtool.errors import ArgumentError, CovtoolError
from covtool.printable import printable
from covtool.shortages import shortage_behind
from covtool.specs import InputSpec

_PROBED = 2  # black images; batch norms in training need more than one


def require_logits(model: nn.Module, images: InputSpec) -> None:
    """Refuse a model that returns several outputs in training, before anything is trained.

    Args:
        model: Model to be trained; stays as it is, with its statistics and modes.
        images: Images that it takes.

    Raises:
        ArgumentError: It does not take such images, or its forward pass in training returns
            something else than a tensor.
    """
    parameter = next(model.parameters())
    black = torch.zeros(_PROBED, images.channels, *images.size)
    # A copy: batch norms in training change their statistics, also without gradients.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with modes_restored(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = functional_call(model.train(), buffers, (black.to(parameter),))
    except RuntimeError as problem:
        # Our own errors explain themselves; a lack of memory says nothing about the images.
        if isinstance(problem, CovtoolError) or shortage_behind(problem) is not None:
            raise
        height, width = images.size
        raise ArgumentError(
            f"The model does not take images of {images.channels} channels and {height}x{width} "
            "pixels.",
            reason=printable(str(problem).partition("\n")[0]),
        ) from problem
    if not isinstance(outputs, Tensor):
        raise several_outputs(outputs)


def several_outputs(outputs: object) -> ArgumentError:
    """Return the error for a forward pass that returns `outputs`."""
    names = getattr(outputs, "_fields", None)
    what = type(outputs).__name__ + (f" ({', '.join(names)})" if names else "")
    return ArgumentError(
        f"In training the model returns a {what}, not one tensor of logits.",
        reason="Which of several outputs is trained, and at which weight, is not known.",
        hint="Give the same architecture without auxiliary or distillation heads.",
    )
