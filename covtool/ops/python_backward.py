"""Functions with a backward pass of their own, where torch.jit.trace records what runs."""

from typing import Any

import torch
from torch.autograd import forward_ad
from torch.jit import is_tracing  # type: ignore[attr-defined]  # public, but not in __all__


class _Forgetful:
    """A context that keeps nothing for a backward pass."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        """Keep nothing: the operations themselves are differentiated."""


def records_operations() -> bool:
    """Return whether what runs is being recorded: torch.compile, torch.export, torch.jit.trace.

    What is recorded has to be operations that every format has, without Python in their backward.
    """
    return is_tracing() or torch.compiler.is_compiling()


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """Return ``function.apply(*arguments)``; under torch.jit.trace, run its forward pass alone.

    A trace holds operations and no Python, so it cannot hold a backward pass that is written in
    Python: two traces would differ, and none could be saved. What is traced computes the same
    values; its gradient is that of the operations, not the function's own.

    Args:
        function: Function whose ``forward`` takes the context first.
        arguments: Arguments of ``forward`` after the context.
    """
    if is_tracing():
        # Without `apply` the operations are recorded as they are, in autograd's sight.
        return function.forward(_Forgetful(), *arguments)
    return function.apply(*arguments)


def differentiates_in_python() -> bool:
    """Return whether what runs now is differentiated by autograd's backward pass, and once run.

    Not so where operations are recorded to be compiled, exported or traced, nor under
    `torch.func`'s transformations and forward-mode differentiation: these want the operations.
    """
    return not (
        is_tracing()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def hooks_take_what_is_kept() -> bool:
    """Return whether what is kept for the backward pass goes through hooks, which may drop it.

    Such are activation checkpointing, which computes it again, and its move to another device.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
