"""Where the first value that is infinite or not a number comes from."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def first_nonfinite_tensor(named: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """The name of the first tensor that holds a value that is not finite."""
    for name, tensor in named:
        if tensor is not None and tensor.is_floating_point() and not is_finite(tensor):
            return name
    return None


def first_nonfinite_gradient(model: nn.Module) -> str | None:
    """The name of the first parameter whose gradient is not finite."""
    return first_nonfinite_tensor((n, p.grad) for n, p in model.named_parameters())


def explain_nonfinite(model: nn.Module, images: Tensor) -> str:
    """Say, in one line, where a batch's first non-finite value appears.

    The batch is run once more, in the mode that the model is in, with a hook on every layer.

    Args:
        model: Not compiled.
        images: The batch, on the model's device.
    """
    if not is_finite(images):
        return "The images themselves hold values that are not finite."
    found: list[str] = []
    layers = [(n, m) for n, m in model.named_modules() if not any(m.children())]
    handles = [m.register_forward_hook(_recorder(n, found)) for n, m in layers]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        return "Every layer's output is finite on a second run; the loss itself is not."
    layer = model.get_submodule(found[0])
    where = f"The first layer with a non-finite output is {found[0]!r} ({type(layer).__name__})"
    broken = first_nonfinite_tensor(layer.state_dict().items())
    return f"{where}; its {broken} is not finite." if broken else f"{where}."


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is finite."""
    return bool(torch.isfinite(tensor.detach()).all())


def _recorder(name: str, found: list[str]) -> Callable[..., None]:
    def record(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not is_finite(output):
            found.append(name)

    return record
