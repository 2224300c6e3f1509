"""Forward and backward of isqrt_covariance against a textbook D x D Newton-Schulz.

Both run in this process, in turns, so that what else the machine does touches both alike:

    python benchmarks/head.py [--shapes 16x256x7x7 ...] [--repetitions 15] [--device cpu] [--json]

Times are medians; "ratio" is the textbook's time over ours. Memory is what a forward and backward
pass allocates at its peak beyond what was there before, from torch's own record of allocations.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from covtool.ops.covariance import covariance_pool
from covtool.ops.isqrt import isqrt_covariance

SHAPES = ["16x256x7x7", "16x256x14x14", "16x256x16x8", "4x512x14x14"]
GOALS = {"16x256x7x7": 10.0, "16x256x14x14": 1.5, "16x256x16x8": 10.0, "4x512x14x14": 8.0}


def textbook(features: Tensor, *, num_iterations: int = 5) -> Tensor:
    """iSQRT-COV as the paper writes it, on D x D matrices, without its N x N centring matrix."""
    cov = covariance_pool(features)
    identity = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    trace = cov.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
    root = cov / trace
    inverse_root = identity.expand_as(root)
    for _ in range(num_iterations):
        step = 0.5 * (3 * identity - inverse_root @ root)
        root, inverse_root = root @ step, step @ inverse_root
    return root * trace.sqrt()


def one_pass(function: Callable[[Tensor], Tensor], features: Tensor, weights: Tensor) -> None:
    """Forward and backward, with an incoming gradient of `weights`."""
    features.grad = None
    function(features).backward(weights)


def seconds(function: Callable[[Tensor], Tensor], features: Tensor, weights: Tensor) -> float:
    """Wall time of one pass."""
    synchronize(features)
    start = time.perf_counter()
    one_pass(function, features, weights)
    synchronize(features)
    return time.perf_counter() - start


def synchronize(features: Tensor) -> None:
    """Wait for an accelerator."""
    if features.is_cuda:
        torch.cuda.synchronize(features.device)


def peak_mib(function: Callable[[Tensor], Tensor], features: Tensor, weights: Tensor) -> float:
    """Peak of the memory that one pass allocates, in MiB."""
    if features.is_cuda:
        torch.cuda.reset_peak_memory_stats(features.device)
        before = torch.cuda.memory_allocated(features.device)
        one_pass(function, features, weights)
        return (torch.cuda.max_memory_allocated(features.device) - before) / 2**20
    activity = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activity, profile_memory=True) as profiler:
        one_pass(function, features, weights)
    used = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            used += event.nbytes()
            peak = max(peak, used)
    return peak / 2**20


def compare(shape: str, repetitions: int, device: str) -> dict[str, object]:
    """One row of the table."""
    torch.manual_seed(0)
    sizes = [int(size) for size in shape.split("x")]
    features = torch.randn(sizes, device=device).relu().requires_grad_()
    weights = torch.randn(sizes[0], sizes[1], sizes[1], device=device)
    functions = {"textbook": textbook, "covtool": isqrt_covariance}
    for function in functions.values():
        for _ in range(3):
            one_pass(function, features, weights)
    times = {name: [] for name in functions}
    for _ in range(repetitions):
        for name, function in functions.items():
            times[name].append(seconds(function, features, weights))
    middle = {name: 1000 * median(values) for name, values in times.items()}
    exact = textbook(features.detach().double())
    return {
        "shape": shape,
        "textbook_ms": middle["textbook"],
        "covtool_ms": middle["covtool"],
        "ratio": middle["textbook"] / middle["covtool"],
        "goal": GOALS.get(shape),
        "textbook_mib": peak_mib(textbook, features, weights),
        "covtool_mib": peak_mib(isqrt_covariance, features, weights),
        "textbook_error": relative_error(textbook(features.detach()), exact),
        "covtool_error": relative_error(isqrt_covariance(features.detach()), exact),
    }


def relative_error(root: Tensor, exact: Tensor) -> float:
    """Distance to the float64 result, relative to its norm."""
    return ((root.double() - exact).norm() / exact.norm()).item()


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [compare(s, arguments.repetitions, arguments.device) for s in arguments.shapes]
    if arguments.json:
        print(json.dumps({"machine": machine(arguments.device), "rows": rows}, indent=2))
        return
    print(f"{machine(arguments.device)}; medians of {arguments.repetitions} passes\n")
    print("| B x D x H x W | textbook ms | covtool ms | ratio | goal | textbook MiB | covtool MiB "
          "| error, textbook | error, covtool |")  # fmt: skip
    print("| --- " + "| ---: " * 8 + "|")
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:g}x"
        print(
            f"| {row['shape']} | {row['textbook_ms']:.1f} | {row['covtool_ms']:.1f} "
            f"| {row['ratio']:.1f}x | {goal} | {row['textbook_mib']:.1f} "
            f"| {row['covtool_mib']:.1f} | {row['textbook_error']:.1e} "
            f"| {row['covtool_error']:.1e} |"
        )


def machine(device: str) -> str:
    """What it ran on, for the report."""
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} threads, torch {torch.__version__}"


if __name__ == "__main__":
    main()
