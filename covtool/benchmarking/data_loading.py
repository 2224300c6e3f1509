"""A benchmark of loading training images: from files by three libraries, and from caches."""

import gc
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from covtool.atomic.folders import scratch_folder
from covtool.benchmarking.measuring import describe_machine
from covtool.benchmarking.photographs import FileSizes, enlarged, file_sizes, made_up
from covtool.data.cache import CacheRequest, CacheSetting, open_caches, training_form
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.reading import scan
from covtool.data.datasets.samples import Sample
from covtool.data.loading.loaders import training_loader
from covtool.data.loading.timm_loader import timm_training_loader
from covtool.data.loading.torchvision_loader import torchvision_training_loader
from covtool.errors import ArgumentError
from covtool.progress import Track, silent
from covtool.specs import AugmentationSpec, InputSpec, LoadingSpec

BASELINE = "timm"
LOADERS = (BASELINE, "torchvision", "off", "exact", "ram", "disk")
CACHES = ("ram", "disk")
NO_LIMIT = "1000TB"  # caches are bounded by what is free alone


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingBenchmarkSpec:
    """Settings of the benchmark.

    Attributes:
        img_size: Height and width of the network's images.
        batch_size: Images per batch.
        workers: Processes that load images.
        color_jitter: Strength of random brightness, contrast and saturation; else images are
            cropped and flipped at random.
        step_ms: Duration of a training step on an accelerator, which leaves the processor idle.
        long_side: Long side that images are enlarged to first, in pixels; None for no change.
        repetitions: Repetitions of a first and a second epoch, of which figures are medians.
    """

    img_size: int = 224
    batch_size: int = 32
    workers: int = 2
    color_jitter: float = 0.0
    step_ms: float = 50.0
    long_side: int | None = None
    repetitions: int = 5

    @property
    def input(self) -> InputSpec:
        """The images that the network takes."""
        return InputSpec(size=(self.img_size, self.img_size))

    @property
    def augmentation(self) -> AugmentationSpec:
        """Their random variation."""
        return AugmentationSpec(color_jitter=self.color_jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderCost:
    """Figures of a loader.

    Attributes:
        loader: ``timm``, ``torchvision``, or covtool's: ``off`` and ``exact`` (at full size) from
            files, or with a kind of cache.
        first: Images per second of the loader alone in the first epoch, with all that comes
            before it: processes start, a cache is filled.
        later: Images per second of the loader alone in the second epoch.
        cpu_ms: Time of one core for an image then, over all processes; None where the system
            does not count it. Other programs on the machine hardly change it.
        first_wait_ms: Average wait of a training step for its images in the first epoch.
        later_wait_ms: Average wait in the second epoch.
        to_timm: `later` over that of timm, in the same repetition.
        cpu_of_timm: timm's `cpu_ms` over this one, in the same repetition.
    """

    loader: str
    first: float
    later: float
    cpu_ms: float | None
    first_wait_ms: float
    later_wait_ms: float
    to_timm: float
    cpu_of_timm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingBenchmark:
    """The table.

    Attributes:
        machine: Description of the machine.
        data: Name of the data set.
        images: Number of its training images.
        files: Average size of them.
        spec: Settings of the benchmark.
        rows: Figures of each loader.
    """

    machine: str
    data: str
    images: int
    files: FileSizes
    spec: LoadingBenchmarkSpec
    rows: tuple[LoaderCost, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that was measured: images, batches, seconds, and seconds of one core."""

    images: int
    steps: int
    seconds: float
    core_s: float

    @property
    def speed(self) -> float:
        """Images per second."""
        return self.images / self.seconds


Build = Callable[[], Iterable[tuple[Any, Any]]]
"""Function that builds a loader, with everything that is needed before the first batch."""


def benchmark_loading(
    data: Path | None = None,
    *,
    spec: LoadingBenchmarkSpec | None = None,
    track: Track = silent,
) -> LoadingBenchmark:
    """Measure loaders of timm, torchvision and covtool, in turns, each made anew every time.

    Args:
        data: A folder with a folder per class, whole or below ``train``; None for photographs of
            noise.
        spec: Settings of the benchmark.
        track: Display of the progress.

    Raises:
        DataError: See `scan`.
        ArgumentError: The data are no folder, or fewer than a batch, or there is no place for
            temporary files.
        SaveError: That place is full.
    """
    spec = spec or LoadingBenchmarkSpec()
    with scratch_folder("covtool-bench") as scratch:
        layout = scan(made_up(scratch / "photographs") if data is None else data)
        name = layout.name
        if spec.long_side is not None:
            place = scratch / "enlarged"
            samples = layout.splits["train"]
            layout = scan(enlarged(samples, layout.class_names, spec.long_side, place, track))
        folder, samples = _training_folder(layout), layout.splits["train"]
        if len(samples) < spec.batch_size:
            raise ArgumentError(f"{len(samples)} images do not fill a batch of {spec.batch_size}.")
        builds = _builds(folder, samples, spec, scratch)
        rounds = range(spec.repetitions)
        passes = [_round(builds, spec) for _ in track(rounds, "measuring", spec.repetitions)]
        files = file_sizes(samples)
    return LoadingBenchmark(
        machine=describe_machine("cpu"),
        data=name,
        images=len(samples),
        files=files,
        spec=spec,
        rows=tuple(_row(loader, passes, spec) for loader in LOADERS),
    )


Pass = dict[str, tuple[Epoch, Epoch, Epoch, Epoch]]
"""By loader: first and second epoch alone, first and second with training steps."""


def _round(builds: dict[str, Build], spec: LoadingBenchmarkSpec) -> Pass:
    return {
        loader: (*_two_epochs(build, 0.0), *_two_epochs(build, spec.step_ms / 1000))
        for loader, build in builds.items()
    }


def _two_epochs(build: Build, step_s: float) -> tuple[Epoch, Epoch]:
    """Measure two epochs, the first with everything before it."""
    start, used = time.perf_counter(), _core_seconds()
    loader, epochs = build(), []
    for number in range(2):
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(number)
        images = steps = 0
        for _, labels in loader:
            images, steps = images + len(labels), steps + 1
            if step_s:  # a step on an accelerator, during which workers have the processor
                time.sleep(step_s)
        now, now_used = time.perf_counter(), _core_seconds()
        epochs.append(Epoch(images, steps, now - start, now_used - used))
        start, used = now, now_used
    del loader
    gc.collect()  # its processes end, before those of the next one start
    return epochs[0], epochs[1]


def _core_seconds() -> float:
    """Return the time of all cores for this process and its living children; NaN if unknown."""
    # `os.times` counts children only once they have ended, and workers live on between epochs.
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            # The name of a program comes first, in parentheses, and may hold spaces itself.
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # user and system time
    return total


def _row(loader: str, passes: Sequence[Pass], spec: LoadingBenchmarkSpec) -> LoaderCost:
    own, timm = ([once[name] for once in passes] for name in (loader, BASELINE))

    def wait_ms(epoch: int) -> float:
        found = (epochs[epoch] for epochs in own)
        return median(1000 * e.seconds / e.steps - spec.step_ms for e in found)

    return LoaderCost(
        loader=loader,
        first=median(epochs[0].speed for epochs in own),
        later=median(epochs[1].speed for epochs in own),
        cpu_ms=_known(median(1000 * epochs[1].core_s / epochs[1].images for epochs in own)),
        first_wait_ms=wait_ms(2),
        later_wait_ms=wait_ms(3),
        to_timm=median(a[1].speed / b[1].speed for a, b in zip(own, timm, strict=True)),
        cpu_of_timm=_known(
            median(
                b[1].core_s / b[1].images / (a[1].core_s / a[1].images)
                for a, b in zip(own, timm, strict=True)
            )
        ),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _builds(
    folder: Path, samples: Sequence[Sample], spec: LoadingBenchmarkSpec, scratch: Path
) -> dict[str, Build]:
    size = {"batch_size": spec.batch_size, "workers": spec.workers}
    timm = partial(timm_training_loader, folder, spec.input, spec.augmentation, **size)
    torchvision = partial(
        torchvision_training_loader, folder, spec.input, spec.augmentation, **size
    )
    own = partial(training_loader, input=spec.input, augmentation=spec.augmentation, **size)

    def from_cache(cache: str) -> Iterable[tuple[Any, Any]]:
        place = tempfile.mkdtemp(dir=scratch) if cache == "disk" else None  # a new file each time
        loading = LoadingSpec(cache=cache, cache_memory=NO_LIMIT, cache_dir=place)
        form = training_form(spec.input, spec.augmentation)
        request = CacheRequest(split="train", samples=samples, form=form)
        return own(open_caches([request], CacheSetting(spec=loading, root=folder))[0])

    return {
        BASELINE: timm,
        "torchvision": torchvision,
        "off": partial(own, samples),
        "exact": partial(own, samples, exact_decode=True),
        **{cache: partial(from_cache, cache) for cache in CACHES},
    }


def _training_folder(layout: DataLayout) -> Path:
    if layout.kind != "folder":
        raise ArgumentError(
            f"{layout.root} is not a folder.",
            reason="timm's loader, the baseline, reads folders with a folder per class.",
        )
    return layout.root / layout.split_names["train"] if "val" in layout.splits else layout.root
