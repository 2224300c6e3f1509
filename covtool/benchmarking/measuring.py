"""Time and memory of functions that run in turns, so that other load touches all alike."""

import platform
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from covtool.progress import Track, silent

WARM_UP = 2
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a function costs.

    Attributes:
        forward_ms: Median time of the forward pass, with what backward will need.
        backward_ms: Median time of the backward pass to the input.
        peak_mib: Most memory that both together hold beyond what was there before, the result
            and the gradient of the input included.
    """

    forward_ms: float
    backward_ms: float
    peak_mib: float

    @property
    def total_ms(self) -> float:
        """Forward and backward."""
        return self.forward_ms + self.backward_ms


def measure(
    functions: Mapping[str, Function],
    features: Tensor,
    *,
    repetitions: int = 15,
    track: Track = silent,
) -> dict[str, Cost]:
    """Cost of each function of `features`, with an incoming gradient of ones.

    Args:
        functions: By name.
        features: The input; not modified.
        repetitions: Of each function, after two to warm up. All functions run once before any
            runs again.
        track: Shows the progress.
    """
    leaf = features.detach().clone().requires_grad_()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in track(range(WARM_UP + repetitions), "measuring", WARM_UP + repetitions):
        for name, function in functions.items():
            times[name].append(_one_pass(function, leaf))
    return {
        name: Cost(
            forward_ms=_median_ms(t[0] for t in passes[WARM_UP:]),
            backward_ms=_median_ms(t[1] for t in passes[WARM_UP:]),
            peak_mib=peak_mib(functions[name], leaf),
        )
        for name, passes in times.items()
    }


def peak_mib(function: Function, leaf: Tensor) -> float:
    """Peak of what one forward and backward pass allocates, by torch's own record, in MiB."""
    leaf.grad = None
    if leaf.is_cuda:
        torch.cuda.reset_peak_memory_stats(leaf.device)
        before = torch.cuda.memory_allocated(leaf.device)
        _one_pass(function, leaf)
        return (torch.cuda.max_memory_allocated(leaf.device) - before) / 2**20
    activity = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activity, profile_memory=True) as profiler:
        _one_pass(function, leaf)
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()
            peak = max(peak, used)
    return peak / 2**20


def describe_machine(device: torch.device | str) -> str:
    """What the figures were taken on."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, threads: {threads}, torch {torch.__version__}"


def _one_pass(function: Function, leaf: Tensor) -> tuple[float, float]:
    leaf.grad = None
    start = _now(leaf)
    result = function(leaf)
    middle = _now(leaf)
    result.backward(torch.ones_like(result))
    return middle - start, _now(leaf) - middle


def _now(leaf: Tensor) -> float:
    if leaf.is_cuda:
        torch.cuda.synchronize(leaf.device)
    return time.perf_counter()


def _median_ms(seconds: Iterable[float]) -> float:
    return 1000 * median(seconds)
