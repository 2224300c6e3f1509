"""Train and eval modes of a model's modules, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """Give every module the mode back that it had before the block."""
    # Each its own: a frozen batch norm in a model that is trained stays in eval mode.
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for the block; every module has its mode back afterwards."""
    with modes_restored(model):
        model.eval()
        yield
