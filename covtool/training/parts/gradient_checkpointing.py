"""Activations are computed twice instead of being kept: less memory, more time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from covtool.errors import ArgumentError
from covtool.specs import TrainingSpec


def checkpoint_gradients_(model: nn.Module, name: str) -> None:
    """Let a timm model keep the activations at the borders of its blocks only.

    Args:
        model: To be trained.
        name: What to call it in an error.

    Raises:
        ArgumentError: The model cannot.
    """
    enable = getattr(model, "set_grad_checkpointing", None)
    try:
        if enable is not None:
            enable(True)
            return
    except AssertionError:  # how timm's models say that they cannot
        pass
    raise ArgumentError(
        f"--grad-checkpointing is not to be had with {name}.",
        reason="timm offers it for most of its models; torchvision has none.",
        hint="Leave it out; a smaller --batch-size with --grad-accum-steps saves memory as well.",
    )


@contextmanager
def recomputing(model: nn.Module, training: TrainingSpec) -> Iterator[None]:
    """For a backward pass: what modules remember of a batch is what one forward pass left.

    Batch norms and operators with running means would otherwise count a batch twice, the second
    time when their activations are computed again. Without gradient checkpointing it does nothing.
    """
    modules = [m for m in model.modules() if m.training] if training.grad_checkpointing else []
    buffers = [buffer for module in modules for buffer in module.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
