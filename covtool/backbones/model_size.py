"""Memory that a model takes, counted on the meta device before any is taken."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from covtool.errors import ArgumentError, CheckpointError, reason_of
from covtool.model_limit import largest_model
from covtool.specs.byte_amounts import format_bytes

FLAG = "--max-model-size"
_META = torch.device("meta")
# In place, and without an effect on what has no memory: initializers call little else.
_FILLING = frozenset(
    getattr(Tensor, name)
    for name in ("normal_", "uniform_", "fill_", "zero_", "erfinv_", "clamp_", "mul_", "add_")
)
_VALUES = frozenset((torch.arange, torch.linspace, torch.tensor))


MOST_CALLS = 100_000
"""Calls of torch while a structure is made, which bounds the time; MaxViT-XL has 33,000.

It fills tables position by position, with images of 4,096 pixels for minutes.
"""


class TooManyCallsError(RuntimeError):
    """The structure of a model takes too long to make."""


class _Unfilled(TorchFunctionMode):
    """Leaves out what would set the values of meta tensors, which is most of the time it takes.

    Args:
        values: Whether ranges and the like have values: torchvision's RegNets compute their
            widths from them.
        most_calls: Calls of torch before a TooManyCallsError; None for any number.
    """

    def __init__(self, *, values: bool, most_calls: int | None) -> None:
        super().__init__()
        self._values = values
        self._left = most_calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise TooManyCallsError(f"It takes more than {MOST_CALLS:,} calls of torch to make")
        if func in _FILLING and args[0].is_meta:
            return args[0]
        if self._values and func in _VALUES:
            return func(*args, **{"device": "cpu", **(kwargs or {})})
        return func(*args, **(kwargs or {}))


@contextmanager
def without_weights(*, values: bool = False, most_calls: int | None = None) -> Iterator[None]:
    """Modules that are made within the ``with`` statement are on the meta device.

    Args:
        values: Whether ``arange``, ``linspace`` and ``tensor`` have values all the same.
        most_calls: Calls of torch before a TooManyCallsError; None for any number.
    """
    with torch.random.fork_rng(devices=[]), _META, _Unfilled(values=values, most_calls=most_calls):
        yield


def tensor_bytes(model: nn.Module) -> int:
    """Return bytes of a model's parameters and buffers, on whatever device."""
    return num_bytes(_tensors(model))


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """Return bytes of some tensors together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def activation_bytes(model: nn.Module, channels: int, size: tuple[int, int]) -> int:
    """Return bytes of the outputs of all modules for one image, counted without memory.

    That is what looking for the places to operate on keeps, and an upper bound for evaluation.

    Args:
        model: On whatever device; left as it is.
        channels: Channels of the image.
        size: Height and width in pixels.

    Raises:
        ArgumentError: The model does not run on such an image.
    """
    found: list[Any] = []
    # A model on the meta device needs no copy.
    twin = model if all(tensor.is_meta for tensor in _tensors(model)) else on_meta(model)
    handles = [
        module.register_forward_hook(lambda module, given, output: found.append(output))
        for module in twin.modules()
    ]
    try:
        with torch.no_grad(), without_weights():
            twin.eval()(torch.zeros(1, channels, *size))
    except Exception as problem:  # whatever the code of a library says
        raise ArgumentError(
            f"{type(model).__name__} does not run on images of {channels}x{size[0]}x{size[1]}.",
            reason=reason_of(problem),
        ) from problem
    finally:
        for handle in handles:
            handle.remove()
    memory = (output.untyped_storage() for output in found if isinstance(output, Tensor))
    # Views share a storage, which counts once.
    return sum({storage._cdata: storage.nbytes() for storage in memory}.values())


def require_room(what: str, needed: int) -> None:
    """Refuse a model that is larger than the limit; see `covtool.model_limit`.

    Args:
        what: The model, in words.
        needed: Bytes of its tensors, and of its activations as far as they are known.

    Raises:
        CheckpointError: It is.
    """
    limit = largest_model()
    if limit is not None and needed > limit:
        raise CheckpointError(
            f"{what} would take {format_bytes(needed)}, and at most {format_bytes(limit)} are "
            "allowed.",
            hint=f"Where it is meant to be so large: {FLAG} {_rounded_up(needed)}; the default is "
            "what the machine has free.",
        )


def new_linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """Build a linear layer, once it is known that its weights are within the limit.

    A covariance of 256 channels has 32,896 features: with 100,000 classes, 13 GB of weights.

    Raises:
        CheckpointError: They are not; see `require_room`.
    """
    if torch.empty(0).device != _META:  # where nothing has memory yet
        what = f"A linear layer of {in_features:,} features and {out_features:,} outputs"
        size = torch.get_default_dtype().itemsize
        require_room(what, size * out_features * (in_features + bias))
    return nn.Linear(in_features, out_features, bias=bias)


def _rounded_up(amount: int) -> str:
    """Return an amount that is enough, as a user writes it."""
    unit, name = (10**9, "GB") if amount >= 10**9 else (10**6, "MB")
    return f"{-(-amount // unit)}{name}"


def on_meta(model: nn.Module) -> nn.Module:
    """Return a copy of a model without memory for its tensors."""
    # deepcopy takes what is in the memo for copied already: no tensor gets memory.
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(
            parameter.detach().to(_META), requires_grad=parameter.requires_grad
        )
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.to(_META)
    return deepcopy(model, memo)
