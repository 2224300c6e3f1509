"""The chain of modules through which a model's features pass: which module feeds which.

A module's output is the next one's input where both are the same memory. That holds for plain
chains, for views (flatten) and for in-place activations, and fails where a model combines tensors
in between: the chain ends there, which is what surgery must know.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from covtool.backbones.model_size import on_meta, without_weights
from covtool.backbones.module_modes import in_eval_mode
from covtool.errors import SurgeryError

Key = tuple[int, int]
"""Address of the memory and number of elements."""

_OFFSET_BITS = 64

LARGEST_COMPUTED = 1024 * 1024
"""Pixels of an image that a model is run on to see which module feeds which. Of a larger one the
shapes alone are followed: a file may ask for 4,096 x 4,096, which takes minutes and gigabytes.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a module with a tensor in and a tensor out.

    Attributes:
        path: Name of the module in the model.
        start: Position of the call's beginning in the order of all beginnings and ends.
        end: Position of the call's end in that order.
        source: Key of the first argument.
        result: Key of the output.
        source_shape: Shape of the first argument.
        shape: Shape of the output.
    """

    path: str
    start: int
    end: int
    source: Key
    result: Key
    source_shape: tuple[int, ...]
    shape: tuple[int, ...]


def trace_calls(model: nn.Module, images: Tensor) -> list[Call]:
    """Run `model` once without gradients and list the calls of its submodules, in order of end."""
    calls: list[Call] = []
    begun: dict[str, list[int]] = {}
    kept: list[Tensor] = []  # memory must not be reused while keys are compared
    # One clock for beginnings and ends, to tell nested calls from consecutive ones.
    clock = iter(range(10**9))

    def before(path: str) -> object:
        return lambda module, arguments: begun.setdefault(path, []).append(next(clock))

    def after(path: str) -> object:
        def record(module: nn.Module, arguments: tuple, output: object) -> None:
            # A stack, since a module may call itself.
            start, end = begun[path].pop(), next(clock)
            source = arguments[0] if arguments else None
            if not (isinstance(source, Tensor) and isinstance(output, Tensor)):
                return
            kept.extend((source, output))
            calls.append(
                Call(
                    path=path,
                    start=start,
                    end=end,
                    source=_key(source),
                    result=_key(output),
                    source_shape=tuple(source.shape),
                    shape=tuple(output.shape),
                )
            )

        return record

    handles = []
    for path, module in model.named_modules():
        if path:
            handles += [
                module.register_forward_pre_hook(before(path)),
                module.register_forward_hook(after(path)),
            ]
    try:
        with in_eval_mode(model), torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def trace_black_image(
    model: nn.Module, size: tuple[int, int], channels: int
) -> tuple[list[Call], Key]:
    """Return the calls of a model's submodules on a black image, and the key of that image.

    Args:
        model: Left as it is.
        size: Height and width of the image, in pixels.
        channels: Channels of the image.

    Raises:
        SurgeryError: The model does not run on such an image.
    """
    parameter = next(model.parameters())
    is_large = size[0] * size[1] > LARGEST_COMPUTED
    device = "meta" if is_large else parameter.device
    image = torch.zeros(1, channels, *size, dtype=parameter.dtype, device=device)
    try:
        if is_large:
            with without_weights():
                return trace_calls(on_meta(model), image), _key(image)
        return trace_calls(model, image), _key(image)
    except (RuntimeError, AssertionError, ValueError) as problem:
        raise SurgeryError(
            f"{type(model).__name__} does not run on a {channels}x{size[0]}x{size[1]} image.",
            reason=str(problem).splitlines()[0] if str(problem) else None,
            hint="Give the size that it was made for: --img-size.",
        ) from problem


Tracer = Callable[[nn.Module, tuple[int, int], int], tuple[list[Call], Key]]
"""`trace_black_image`, or what stands for it."""


def traced_once() -> Tracer:
    """Return a `trace_black_image` that runs a model once for all that want its calls.

    It keeps the model, which must stay as it is; leave it when they are through.
    """
    return cache(trace_black_image)


def chain_before(calls: Iterable[Call], call: Call) -> list[Call]:
    """Return the calls that lead to `call`'s input, nearest first; of nested ones the outermost."""
    chain = []
    while True:
        feeding = [c for c in calls if c.end < call.start and c.result == call.source]
        if not feeding:
            return chain
        # Nested modules put out the same tensor; the outermost one ends last.
        call = max(feeding, key=lambda c: c.end)
        chain.append(call)


def _key(tensor: Tensor) -> Key:
    if tensor.is_meta:  # no memory: the storage, which views share, stands for it
        storage = tensor.untyped_storage()._cdata
        return (storage << _OFFSET_BITS) + tensor.storage_offset(), tensor.numel()
    # With the number of elements: a slice at the front has the address of the whole.
    return tensor.data_ptr(), tensor.numel()
