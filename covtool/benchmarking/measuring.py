"""Time and memory of functions that run in turns, so that other load touches all alike."""

import platform
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor, nn

from covtool.progress import Track, silent

WARM_UP = 2  # the first pass allocates and picks algorithms, the second finds caches filled
Function = Callable[[Tensor], Tensor]
Name = TypeVar("Name", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time and memory of a function.

    Attributes:
        forward_ms: Median time of the forward pass, with what backward will need.
        backward_ms: Median time of the backward pass, to the input and to the parameters.
        peak_mib: Most memory that both together hold beyond what was there before, the result
            and the gradients included.
    """

    forward_ms: float
    backward_ms: float
    peak_mib: float

    @property
    def total_ms(self) -> float:
        """Forward and backward."""
        return self.forward_ms + self.backward_ms


def measure(
    functions: Mapping[Name, Function],
    features: Tensor,
    *,
    repetitions: int = 15,
    track: Track = silent,
) -> dict[Name, Cost]:
    """Measure each function of `features`, with an incoming gradient of ones.

    Args:
        functions: Functions by name; those of modules get gradients to their parameters as well.
        features: The input; not modified.
        repetitions: Passes of each function, after two to warm up. All functions run once before
            any runs again.
        track: Shows the progress.
    """
    # A copy: asking for gradients would change the caller's tensor.
    leaf = features.detach().clone().requires_grad_()
    passes = {name: partial(_one_pass, function, leaf) for name, function in functions.items()}
    return {
        name: Cost(
            forward_ms=_median_ms(t[0] for t in times),
            backward_ms=_median_ms(t[1] for t in times),
            peak_mib=peak_mib(functions[name], leaf),
        )
        for name, times in in_turns(passes, repetitions, track).items()
    }


def measure_calls(
    calls: Mapping[Name, Callable[[], object]],
    device: torch.device,
    *,
    repetitions: int = 15,
    track: Track = silent,
) -> dict[Name, float]:
    """Return the median time of each call in ms; like `measure`, but without a feature map."""
    timed = {name: partial(_one_call, call, device) for name, call in calls.items()}
    return {name: _median_ms(times) for name, times in in_turns(timed, repetitions, track).items()}


def in_turns(
    passes: Mapping[Name, Callable[[], T]], repetitions: int, track: Track
) -> dict[Name, list[T]]:
    """Return the results of each pass, `repetitions` of them, after two to warm up."""
    results: dict[Name, list[T]] = {name: [] for name in passes}
    for _ in track(range(WARM_UP + repetitions), "measuring", WARM_UP + repetitions):
        for name, once in passes.items():
            results[name].append(once())
    return {name: found[WARM_UP:] for name, found in results.items()}


def peak_mib(function: Function, leaf: Tensor) -> float:
    """Return the peak that one forward and backward pass allocates, by torch's record, in MiB."""
    _forget_gradients(function, leaf)
    if leaf.is_cuda:
        torch.cuda.reset_peak_memory_stats(leaf.device)
        before = torch.cuda.memory_allocated(leaf.device)
        _one_pass(function, leaf)
        return (torch.cuda.max_memory_allocated(leaf.device) - before) / 2**20
    # torch keeps no peak for the CPU: the profiler's allocations are added up.
    activity = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activity, profile_memory=True) as profiler:
        _one_pass(function, leaf)
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()  # negative where memory is freed
            peak = max(peak, used)
    return peak / 2**20


def describe_machine(device: torch.device | str) -> str:
    """Return the device that figures were taken on, and torch's version."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, threads: {threads}, torch {torch.__version__}"


def _one_pass(function: Function, leaf: Tensor) -> tuple[float, float]:
    _forget_gradients(function, leaf)
    start = now(leaf.device)
    result = function(leaf)
    middle = now(leaf.device)
    result.backward(torch.ones_like(result))  # no loss, whose own cost would be measured too
    return middle - start, now(leaf.device) - middle


def _one_call(call: Callable[[], object], device: torch.device) -> float:
    start = now(device)
    call()
    return now(device) - start


def _forget_gradients(function: Function, leaf: Tensor) -> None:
    """Remove gradients, so that no pass pays for adding to those of the one before."""
    leaf.grad = None
    if isinstance(function, nn.Module):
        function.zero_grad()


def now(device: torch.device) -> float:
    """Return seconds, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # kernels are only queued when a call returns
    return time.perf_counter()


def _median_ms(seconds: Iterable[float]) -> float:
    return 1000 * median(seconds)
