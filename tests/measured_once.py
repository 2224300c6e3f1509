"""Memory of activations, measured once for all models of one structure.

Every file that is opened runs its model without weights first, and thousands of tests open the same
few: that was an eighth of each conversion and of each tiny run.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

Measure = Callable[[nn.Module, int, tuple[int, int]], int]
_PLAIN = (bool, int, float, str, tuple, type(None))


def once(measure: Measure) -> Measure:
    """Return `measure` with a memory for the structure of the model and the size of the image."""
    known: dict[Any, int] = {}

    def remembered(model: nn.Module, channels: int, size: tuple[int, int]) -> int:
        key = (_structure(model), channels, size)
        if key[0] is None or key not in known:
            known[key] = measure(model, channels, size)
        elif all(parameter.is_meta for parameter in model.parameters()):
            model.eval()  # as measuring leaves it
        return known[key]

    return remembered


def _structure(model: nn.Module) -> tuple | None:
    """Return all that a forward pass depends on but for values; None where it cannot be known."""
    found = []
    for name, module in model.named_modules():
        own = vars(module)
        hooks = any(own[kind] for kind in ("_forward_hooks", "_forward_pre_hooks"))
        if hooks or "forward" in own:
            return None
        settings = [
            (key, str(value))
            for key, value in own.items()
            if key != "training" and isinstance(value, _PLAIN)
        ]
        tensors = [
            (key, tuple(tensor.shape), tensor.dtype)
            for key, tensor in (*own["_parameters"].items(), *own["_buffers"].items())
            if tensor is not None
        ]
        found.append((name, type(module), tuple(settings), tuple(tensors)))
    return tuple(found)
