"""Eval mode for a while, with every module's own mode back afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Run a block with a model in eval mode; each module is in its own mode again after it.

    Args:
        model: Changed in place, and restored also when the block raises.
    """
    # Each module's own: `model.train()` would wake what a run has frozen in eval mode.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
