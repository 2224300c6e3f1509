"""Tensors of devices that are not here: shapes, dtypes, strides and devices without values.

torch's fake tensors say at once where tensors of two devices meet. What they do not do is done
here: a value that is read, and a copy that is waited for, is an error, unless the place that does
so is allowed to; and gradients pass backward without torch's engine, which asks a driver.
"""

import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ROOT = Path(__file__).parents[1]

READS = {aten._local_scalar_dense.default, aten.item.default, aten.is_nonzero.default}
"""Operators that hand a value to Python: a device has to have computed it by then."""
SIZED_BY_VALUES = {
    *(aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.equal.default),
    *(aten.unique_consecutive.default, aten.repeat_interleave.Tensor),
}
"""Operators whose result's size, or whose result, Python needs at once."""


class HiddenSynchronizationError(AssertionError):
    """A place waits for the device that was not known to."""


@dataclass
class Fake:
    """A fake device.

    Attributes:
        mode: torch's mode of fake tensors.
        device: The device.
        waits: Places that waited for the device, in order: module and function.
    """

    mode: FakeTensorMode
    device: torch.device
    waits: list[tuple[str, str]] = field(default_factory=list)

    def tensor(self, tensor):
        """A fake tensor of the device, with the shape, strides and dtype of a real one."""
        return torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self.device
        )

    def module(self, module):
        """The module itself, its parameters and buffers moved; other tensors stay where they are.

        `Module.to` moves no others either: what is left behind is found by the first forward pass.
        """
        moved = {}
        for part in module.modules():
            for name, parameter in part._parameters.items():
                if parameter is not None and id(parameter) not in moved:
                    made = nn.Parameter(self.tensor(parameter), parameter.requires_grad)
                    moved[id(parameter)] = made, parameter  # kept, so that its number stays its own
                if parameter is not None:
                    part._parameters[name] = moved[id(parameter)][0]
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = self.tensor(buffer)
        return module


@contextmanager
def fake_device(device="cuda", allowed=()):
    """Enter a block in which tensors of a device are fakes.

    Args:
        device: Its name.
        allowed: Places, module and function, that may wait for the device.
    """
    with ExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        # Autocast and the scaler of float16 look for a device that is really there.
        patched.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patched.setattr("torch.amp.grad_scaler.amp_definitely_not_available", no, raising=False)
        patched.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: True)
        patched.setattr(torch.Tensor, "backward", lambda self: backward_(self))
        mode = stack.enter_context(FakeTensorMode())
        fake = Fake(mode, torch.device(device))
        stack.enter_context(_Audit(fake, frozenset(allowed)))
        yield fake


def no():
    return False


class _Audit(TorchDispatchMode):
    def __init__(self, fake, allowed):
        super().__init__()
        self._fake, self._allowed = fake, allowed

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        keywords = keywords or {}
        if operator in READS:
            if arguments[0].device.type == self._fake.device.type:
                self._wait(f"{operator} is read")
            kind = arguments[0].dtype
            return True if kind is torch.bool else 1.0 if kind.is_floating_point else 1
        if operator in SIZED_BY_VALUES and arguments[0].device.type == self._fake.device.type:
            self._wait(f"{operator} has to be known")
        if operator is aten._to_copy.default:
            to = torch.device(keywords.get("device") or arguments[0].device)
            # To the CPU: what is not waited for must not be looked at, and torch does not say when.
            is_safe = keywords.get("non_blocking") and to.type != "cpu"
            self._look_at_copy(arguments[0].device, to, is_safe)
        if operator is aten.copy_.default:
            self._look_at_copy(arguments[1].device, arguments[0].device, (*arguments, False)[2])
        return operator(*arguments, **keywords)

    def _look_at_copy(self, source, to, is_safe):
        if source.type != to.type and not is_safe:
            self._wait(f"a copy from {source} to {to}")

    def _wait(self, what):
        place = _place()
        self._fake.waits.append(place)
        if place not in self._allowed:
            raise HiddenSynchronizationError(f"{what} in {place[0]}, {place[1]}")


def _place():
    """The module and function of covtool that the call came from."""
    frame = sys._getframe(1)
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(ROOT / "covtool"):
            return file.relative_to(ROOT).as_posix(), frame.f_code.co_name
        frame = frame.f_back
    return "", ""


def backward_(output, gradient=None):
    """Pass gradients backward, as `Tensor.backward`, one node after the other.

    torch's engine starts threads for each device and asks the driver for streams, which a build for
    CUDA does on machines without one too. A gradient of another device or shape than the tensor
    that it is of is an error; its dtype becomes that tensor's, as the engine does it.
    """
    seed = torch.ones_like(output) if gradient is None else gradient
    with torch.no_grad():
        given = defaultdict(dict)
        _add(given, output.grad_fn, output.output_nr, seed)
        for node in _in_order(output.grad_fn):
            if hasattr(node, "variable"):
                _accumulate(node.variable, given.pop(node, {}).get(0))
                continue
            own = given.pop(node, {})
            meant = node._input_metadata
            inputs = [own.get(n, None) for n in range(len(meant))]
            inputs = [_zeros(m) if i is None else i for i, m in zip(inputs, meant, strict=True)]
            made = (node.apply if hasattr(node, "saved_tensors") else node)(*inputs)
            made = made if isinstance(made, tuple) else (made,)
            for one, (following, number) in zip(made, node.next_functions, strict=False):
                if one is not None and following is not None:
                    _add(given, following, number, one)


def _zeros(meant):
    return torch.zeros(tuple(meant.shape), dtype=meant.dtype, device=meant.device)


def _add(given, node, number, gradient):
    if not hasattr(node, "variable"):
        meant = node._input_metadata[number]
        assert gradient.device == meant.device, (node, gradient.device, meant.device)
        shape = tuple(meant.shape)
        gradient = gradient if gradient.shape == shape else gradient.sum_to_size(shape)
        gradient = gradient.to(meant.dtype)
    before = given[node].get(number)
    given[node][number] = gradient if before is None else before + gradient


def _accumulate(variable, gradient):
    if gradient is None:
        return
    assert gradient.device == variable.device, (gradient.device, variable.device)
    gradient = gradient.sum_to_size(variable.shape).to(variable.dtype)
    variable.grad = gradient if variable.grad is None else variable.grad + gradient


def _in_order(start):
    """The nodes from an output's to the leaves', each after all that lead to it."""
    order, seen, stack = [], set(), [(start, False)]
    while stack:
        node, is_done = stack.pop()
        if is_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(n, False) for n, _ in node.next_functions if n is not None and n not in seen]
    return reversed(order)
