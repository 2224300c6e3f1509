"""The tensor, or the layer, in which values that are infinite or not a number begin."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFigures:
    """A tensor in a few numbers.

    Attributes:
        max_abs: The largest magnitude among its finite values; 0 without any.
        non_finite: Number of its values that are infinite or not a number.
        size: Number of its values.
    """

    max_abs: float
    non_finite: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigures:
    """A layer's output, or the gradient of the loss by it.

    Attributes:
        name: Path of the module.
        kind: Its class.
        figures: Figures of the tensor.
    """

    name: str
    kind: str
    figures: TensorFigures


class LayerWatch:
    """The tensors that passed through a model's layers, forward and backward.

    Attributes:
        outputs: Outputs in the order in which layers finished: the parts of a layer come before it.
        gradients: Gradients by those outputs, in the order in which they were computed: backward.
    """

    def __init__(self) -> None:
        self.outputs: list[LayerFigures] = []
        self.gradients: list[LayerFigures] = []

    @property
    def first_nonfinite_output(self) -> str | None:
        """The layer in which values that are not finite appeared."""
        return _first_nonfinite(self.outputs)

    @property
    def first_nonfinite_gradient(self) -> str | None:
        """The layer by whose output the gradient is not finite, first on the way back."""
        return _first_nonfinite(self.gradients)

    def record(self, name: str, module: nn.Module, output: object) -> None:
        """Record the output of a layer, and its gradient once that is computed."""
        kind = type(module).__name__
        for tensor in _tensors(output):
            self.outputs.append(LayerFigures(name=name, kind=kind, figures=figures(tensor)))
            if tensor.requires_grad:
                tensor.register_hook(
                    lambda gradient: self.gradients.append(
                        LayerFigures(name=name, kind=kind, figures=figures(gradient))
                    )
                )


@contextmanager
def watching(model: nn.Module) -> Iterator[LayerWatch]:
    """Watch every layer of a model, which must not be compiled, while in the block."""
    watch = LayerWatch()

    def hook_of(name: str):  # a closure for each layer: in the loop all would share one name
        return lambda module, inputs, output: watch.record(name, module, output)

    # The model itself has no name; what it puts out is what its last layer did.
    handles = [m.register_forward_hook(hook_of(n)) for n, m in model.named_modules() if n]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def figures(tensor: Tensor) -> TensorFigures:
    """Summarize a tensor of floating-point numbers."""
    values = tensor.detach()
    good = torch.isfinite(values)
    # NaN times a mask is NaN, hence `where`; an empty tensor has no maximum.
    largest = values.abs().where(good, 0).max() if values.numel() else 0.0
    return TensorFigures(
        max_abs=float(largest),
        non_finite=values.numel() - int(good.sum()),
        size=values.numel(),
    )


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
        model: The model, not compiled: a compiled one runs no hooks.
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
    # The largest magnitude: a sum of squares could overflow where every value is finite.
    return math.isfinite(float(torch.nn.utils.get_total_norm(tensors, norm_type=math.inf)))


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _first_nonfinite(layers: list[LayerFigures]) -> str | None:
    return next((layer.name for layer in layers if layer.figures.non_finite), None)
