"""What a converted network costs: parameters, operations, time and memory of one image."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from covtool.backbones.model_size import tensor_bytes
from covtool.specs import InputSpec
from covtool.surgery.report import measure_size

REPETITIONS = 9
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
    # torch keeps no peak for the CPU: the profiler's allocations are added up.
    activity = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activity, profile_memory=True) as profiler:
        call()
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()  # negative where memory is freed
            peak = max(peak, used)
    return peak
