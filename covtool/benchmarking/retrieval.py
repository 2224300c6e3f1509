"""What a search costs: time, and memory of the whole process."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from covtool.benchmarking.measuring import describe_machine
from covtool.errors import ArgumentError
from covtool.evaluation import FeatureSet, evaluate_retrieval
from covtool.progress import Track, silent
from covtool.specs import RetrievalSpec

SHAPE = "3368x19281x2048"
"""Market-1501's queries and gallery, and ResNet-50's features."""
SEARCHES = ("exact", "rerank")
REPETITIONS = 3
_IDENTITIES = 750
_CAMERAS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalCost:
    """A search at one size.

    Attributes:
        shape: Queries, gallery and features.
        search: A name in `SEARCHES`.
        seconds: Median time from features to figures.
        planned_bytes: What the search said before it started that it would take at most.
        search_bytes: What it took: peak of the process beyond what it had with the features.
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
    """The table.

    Attributes:
        machine: What it was measured on.
        metric: How images were compared.
        max_memory: What a search was allowed to take.
        repetitions: Each time is the median of so many.
        rows: By shape, then search.
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
        shapes: As ``3368x19281x2048``: queries, images of the gallery, features.
        searches: Names in `SEARCHES`.
        spec: Metric and memory.
        repetitions: Of each search, after one to warm up.
        track: Shows the progress.

    Raises:
        ArgumentError: A shape makes no sense, or the memory does not suffice.
    """
    spec = spec or RetrievalSpec()
    cases = [(shape, _sizes(shape), search) for shape in shapes for search in searches]
    rows = []
    for shape, sizes, search in track(cases, "measuring", len(cases)):
        chosen = spec.model_copy(update={"rerank": search == "rerank"})
        # A fresh process: a peak of memory cannot be taken back.
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
    before = _peak_bytes()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        result = evaluate_retrieval(query, gallery, spec)
        times.append(time.perf_counter() - start)
    peak = _peak_bytes()
    return median(times), result.planned_bytes, peak - before, peak


def _warm_up(num_features: int, spec: RetrievalSpec) -> None:
    """Have loaded what is loaded when it is first used."""
    few = FeatureSet(features=torch.rand(64, num_features), identities=torch.arange(64) % 8)
    evaluate_retrieval(few, spec=spec.model_copy(update={"max_memory": "1GB"}))


def _peak_bytes() -> int:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage counts what was there before the program was loaded
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _sizes(shape: str) -> tuple[int, int, int]:
    sizes = shape.split("x")
    if len(sizes) != 3 or not all(size.isdecimal() and int(size) for size in sizes):
        raise ArgumentError(
            f"There is no search of the shape {shape!r}.",
            hint=f"Write queries, images of the gallery and features like {SHAPE}.",
        )
    queries, images, num_features = map(int, sizes)
    return queries, images, num_features
