"""Benchmark of a search: time, and memory of the whole process."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from covtool.benchmarking.measuring import describe_machine
from covtool.benchmarking.names import parse_search
from covtool.errors import CovtoolError
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec

SHAPE = "3368x19281x2048"
"""Market-1501's queries and gallery, and ResNet-50's features."""
SEARCHES = ("exact", "rerank")
REPETITIONS = 3
_IDENTITIES = 750  # as many as Market-1501's test images show, by as many cameras
_CAMERAS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalCost:
    """A search at one size.

    Attributes:
        shape: Queries, gallery and features.
        search: A name in `SEARCHES`.
        seconds: Median time from features to figures.
        planned_bytes: Memory that the search planned to take, at most.
        search_bytes: Memory that it took: peak of the process beyond its peak with the features.
        process_bytes: Peak of the process, with the features, Python and torch.
    """

    shape: str
    search: str
    seconds: float
    planned_bytes: int
    search_bytes: int
    process_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalBenchmark:
    """Table of costs.

    Attributes:
        machine: Machine of the measurement.
        metric: Comparison of two images.
        max_memory: Memory that a search was allowed.
        repetitions: Number of runs that each time is the median of.
        rows: Costs, by shape, then search.
    """

    machine: str
    metric: str
    max_memory: str
    repetitions: int
    rows: tuple[RetrievalCost, ...]


def benchmark_retrieval(
    shapes: Sequence[str] = (SHAPE,),
    *,
    searches: Sequence[str] = SEARCHES,
    spec: RetrievalSpec | None = None,
    repetitions: int = REPETITIONS,
    track: Track = silent,
) -> RetrievalBenchmark:
    """Search among random features, each search in a process of its own.

    Args:
        shapes: Queries, images of the gallery and features, like ``3368x19281x2048``.
        searches: Names in `SEARCHES`.
        spec: Metric and memory.
        repetitions: Runs of each search, after one to warm up.
        track: Display of the progress.

    Raises:
        ArgumentError: A shape makes no sense, or the memory does not suffice.
    """
    spec = spec or RetrievalSpec()
    cases = [(shape, parse_search(shape), search) for shape in shapes for search in searches]
    rows = []
    for shape, sizes, search in track(cases, "measuring", len(cases)):
        chosen = spec.model_copy(update={"rerank": search == "rerank"})
        # A fresh process: the peak of a process never goes down again.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            measured = process.submit(_measure, sizes, chosen, repetitions).result()
        seconds, planned, searched, whole = measured
        rows.append(
            RetrievalCost(
                shape=shape,
                search=search,
                seconds=seconds,
                planned_bytes=planned,
                search_bytes=searched,
                process_bytes=whole,
            )
        )
    return RetrievalBenchmark(
        machine=describe_machine("cpu"),
        metric=spec.metric,
        max_memory=spec.max_memory,
        repetitions=repetitions,
        rows=tuple(rows),
    )


def random_images(count: int, num_features: int, *, seed: int) -> FeatureSet:
    """Return images of random features, identities and cameras, always the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return FeatureSet(
        features=torch.randn(count, num_features, generator=generator),
        identities=torch.randint(_IDENTITIES, (count,), generator=generator),
        cameras=torch.randint(_CAMERAS, (count,), generator=generator),
    )


def _measure(
    sizes: tuple[int, int, int], spec: RetrievalSpec, repetitions: int
) -> tuple[float, int, int, int]:
    queries, images, num_features = sizes
    _warm_up(num_features, spec)
    query = random_images(queries, num_features, seed=0)
    gallery = random_images(images, num_features, seed=1)
    before = _peak_bytes()  # with the features: a search is charged for what comes on top
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        result = evaluate_retrieval(query, gallery, spec)
        times.append(time.perf_counter() - start)
    peak = _peak_bytes()
    return median(times), result.planned_bytes, peak - before, peak


def _warm_up(num_features: int, spec: RetrievalSpec) -> None:
    """Search among few images, so that libraries are loaded before anything is measured."""
    few = FeatureSet(features=torch.rand(64, num_features), identities=torch.arange(64) % 8)
    evaluate_retrieval(few, spec=spec.model_copy(update={"max_memory": "1GB"}))


def _peak_bytes() -> int:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status")
    # A child begins with its parent's `ru_maxrss`; VmHWM starts anew with the program.
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    import sys

    try:
        import resource
    except ImportError as problem:  # Windows
        raise CovtoolError(
            "This system does not say how much memory a process has had.",
            hint="Measure a search on Linux or macOS.",
        ) from problem
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
