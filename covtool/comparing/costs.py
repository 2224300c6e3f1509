"""What a converted network costs: parameters, operations, time and memory of one image."""

import time
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from covtool.backbones.model_size import tensor_bytes
from covtool.specs import InputSpec
from covtool.surgery.report import measure_size

REPETITIONS = 7
WARM_UP = 2  # the first pass allocates and picks algorithms, the second finds caches filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Cost of a network for one image.

    Attributes:
        parameters: Trained numbers.
        gflops: Floating point operations, in 1e9.
        ms_per_image: Median duration of a forward pass of one image, in milliseconds.
        memory_mib: Weights, and the most that a forward pass holds beside them, in MiB.
    """

    parameters: int
    gflops: float
    ms_per_image: float
    memory_mib: float


def measure_costs(model: nn.Module, images: InputSpec, device: torch.device) -> Costs:
    """Measure a network in eval mode; it is on the CPU again afterwards.

    Args:
        model: The network.
        images: Images that it expects.
        device: Device that it is measured on.
    """
    size = measure_size(model, images)
    model.to(device)
    image = torch.zeros(1, images.channels, *images.size, device=device)
    with torch.inference_mode():
        seconds = [_seconds(lambda: model(image), device) for _ in range(WARM_UP + REPETITIONS)]
        held = _held_bytes(lambda: model(image), device)
    model.cpu()
    return Costs(
        parameters=size.parameters,
        gflops=size.flops / 1e9,
        ms_per_image=1000 * median(seconds[WARM_UP:]),
        memory_mib=(tensor_bytes(model) + held) / 2**20,
    )


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    start = _now(device)
    call()
    return _now(device) - start


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # kernels are only queued when a call returns
    return time.perf_counter()


def _held_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a call holds at a time beyond what was there before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveTensors() as live:
        call()
    return live.peak


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is entered, as they live and die.

    torch keeps no such record for the CPU but that of its profiler, which writes to the terminal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = self.peak = 0
        self._owners: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {id(leaf) for leaf in tree_leaves((args, kwargs))}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and id(leaf) not in given:
                self._watch(leaf)
        return result

    def _watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, num_bytes = storage._cdata, storage.nbytes()
        self._owners[key] += 1
        if self._owners[key] == 1:  # else a view of what is counted
            self.used += num_bytes
            self.peak = max(self.peak, self.used)
        weakref.finalize(tensor, self._let_go, key, num_bytes).atexit = False

    def _let_go(self, key: int, num_bytes: int) -> None:
        self._owners[key] -= 1
        if not self._owners[key]:
            self.used -= num_bytes
