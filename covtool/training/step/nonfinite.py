"""Where the first value that is infinite or not a number comes from."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from covtool.training.step.layer_watch import LayerWatch, watching


def first_nonfinite_tensor(named: Iterable[tuple[str, Tensor | None]]) -> str | None:
    """Return the name of the first tensor that holds a value that is not finite."""
    for name, tensor in named:
        if tensor is not None and tensor.is_floating_point() and not is_finite(tensor):
            return name
    return None


def first_nonfinite_gradient(model: nn.Module) -> str | None:
    """Return the name of the first parameter whose gradient is not finite."""
    return first_nonfinite_tensor((n, p.grad) for n, p in model.named_parameters())


def explain_nonfinite(model: nn.Module, images: Tensor) -> str:
    """Say, in one line, where a batch's first non-finite value appears.

    The batch is run once more, in the mode that the model is in, with a hook on every layer.

    Args:
        model: Not compiled.
        images: The batch, on the model's device.
    """
    with watching(model) as watch, torch.no_grad():
        model(images)
    return explain_output(model, images, watch)


def explain_output(model: nn.Module, images: Tensor, watch: LayerWatch) -> str:
    """Say, in one line, where the first non-finite value of a forward pass appeared."""
    if not is_finite(images):
        return "The images themselves hold values that are not finite."
    name = watch.first_nonfinite_output
    if name is None:
        return "Every layer's output is finite on a second run; the loss itself is not."
    layer = model.get_submodule(name)
    where = f"The first layer with a non-finite output is {name!r} ({type(layer).__name__})"
    broken = first_nonfinite_tensor(layer.state_dict().items())
    return f"{where}; its {broken} is not finite." if broken else f"{where}."


def explain_gradient(model: nn.Module, watch: LayerWatch) -> str:
    """Say, in one line, where the first non-finite value of a backward pass appeared."""
    name = first_nonfinite_gradient(model)
    if name is None:
        return "Each parameter's is finite, but its norm overflows."
    parameter = f"The first parameter with such a gradient is {name!r}"
    layer = watch.first_nonfinite_gradient
    return f"{parameter}; on the way back it starts at {layer!r}." if layer else f"{parameter}."


def is_finite(tensor: Tensor) -> bool:
    """Return whether every value is finite."""
    return bool(torch.isfinite(tensor.detach()).all())


def are_finite(tensors: Sequence[Tensor]) -> bool:
    """Return whether every value of every tensor is finite; one synchronization for all of them."""
    return math.isfinite(float(torch.nn.utils.get_total_norm(tensors, norm_type=math.inf)))
