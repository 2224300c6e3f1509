"""What every layer of a model puts out, and what gradient comes back, while somebody looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFigures:
    """A tensor in a few numbers.

    Attributes:
        max_abs: The largest magnitude among its finite values; 0 without any.
        non_finite: How many of its values are infinite or not a number.
        size: How many values it has.
    """

    max_abs: float
    non_finite: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFigures:
    """A layer's output, or the gradient of the loss by it.

    Attributes:
        name: Of the module.
        kind: Its class.
        figures: Of the tensor.
    """

    name: str
    kind: str
    figures: TensorFigures


class LayerWatch:
    """What passed through a model's layers.

    Attributes:
        outputs: In the order in which layers finished: what a layer consists of comes before it.
        gradients: By those outputs, in the order in which they were computed: backward.
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
        """Take down what a layer returned."""
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

    def hook_of(name: str):
        return lambda module, inputs, output: watch.record(name, module, output)

    handles = [m.register_forward_hook(hook_of(n)) for n, m in model.named_modules() if n]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def figures(tensor: Tensor) -> TensorFigures:
    """Return a tensor of floating-point numbers in a few numbers."""
    values = tensor.detach()
    good = torch.isfinite(values)
    largest = values.abs().where(good, 0).max() if values.numel() else 0.0
    return TensorFigures(
        max_abs=float(largest),
        non_finite=values.numel() - int(good.sum()),
        size=values.numel(),
    )


def _tensors(output: object) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _first_nonfinite(layers: list[LayerFigures]) -> str | None:
    return next((layer.name for layer in layers if layer.figures.non_finite), None)
