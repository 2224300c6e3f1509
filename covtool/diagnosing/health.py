"""The health of an installation: versions, devices and memory, and whether they work."""

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from covtool import __version__
from covtool.data.loading.worker_death import SHARED_MEMORY, shared_memory_mib
from covtool.errors import VerificationError

NEEDED = ("torchvision", "timm", "safetensors", "numpy", "pillow")
EXTRAS = {
    "plots": "matplotlib",
    "report": "jinja2",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow-skinny",
    "scipy": "scipy",
    "wds": "webdataset",
    "hf": "datasets",
    "parquet": "pyarrow",
    "faiss": "faiss-cpu",
    "onnx": "onnx",
}
"""A package of each extra, by the extra's name as ``pip install 'covtool[EXTRA]'`` takes it."""
ENOUGH_SHARED_MIB = 1024  # docker gives 64 without --shm-size: a few batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that models can run on.

    Attributes:
        name: Name for ``--device``.
        model: Name of the processor or card.
        memory_mib: Memory of its own; None where it shares the system's.
        bfloat16: Whether it computes in bfloat16 without emulation, as far as torch tells.
    """

    name: str
    model: str
    memory_mib: float | None
    bfloat16: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check, and its outcome.

    Attributes:
        name: Name of the check.
        passed: Whether it is in order.
        detail: Finding, with advice if it is not in order.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The state of an installation.

    Attributes:
        versions: Versions of covtool, python and needed packages; None for a missing one.
        extras: Versions of the packages behind its extras, by extra.
        platform: Operating system and processor.
        cores: Processor cores that this process may use.
        threads: Threads that torch uses.
        memory_mib: Memory of the system; None where it is not known.
        shared_memory_mib: Memory through which loading processes hand images over; None without.
        devices: The CPU first.
        checks: Checks that were made.
    """

    versions: dict[str, str | None]
    extras: dict[str, str | None]
    platform: str
    cores: int
    threads: int
    memory_mib: float | None
    shared_memory_mib: float | None
    devices: tuple[Device, ...]
    checks: tuple[Check, ...]

    def require_passed(self) -> None:
        """Raise if something is not in order.

        Raises:
            VerificationError: It names what.
        """
        failed = [check.name for check in self.checks if not check.passed]
        if failed:
            raise VerificationError(
                f"{len(failed)} of {len(self.checks)} checks failed: {', '.join(failed)}."
            )


def check_health() -> HealthReport:
    """Look at versions, devices and memory, and train a tiny network on each device."""
    devices = _devices()
    return HealthReport(
        versions={
            "covtool": __version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # with the kind of build
            **{name: _version(name) for name in NEEDED},
        },
        extras={extra: _version(package) for extra, package in EXTRAS.items()},
        platform=platform.platform(),
        cores=_cores(),
        threads=torch.get_num_threads(),
        memory_mib=_memory_mib(),
        shared_memory_mib=shared_memory_mib(),
        devices=devices,
        checks=(
            _tried("torchvision fits torch", _try_torchvision),
            *(_training_check(device) for device in devices),
            *_shared_memory_check(),
        ),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # a container may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (ValueError, AttributeError):  # Windows has no sysconf
        return None


def _devices() -> tuple[Device, ...]:
    found = [Device(name="cpu", model=_processor(), memory_mib=None, bfloat16=_cpu_bfloat16())]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            Device(
                name=f"cuda:{index}",
                model=properties.name,
                memory_mib=properties.total_memory / 2**20,
                bfloat16=properties.major >= 8,  # Ampere
            )
        )
    if torch.backends.mps.is_available():
        found.append(Device(name="mps", model=_processor(), memory_mib=None, bfloat16=None))
    return tuple(found)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _cpu_bfloat16() -> bool | None:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _tried(name: str, attempt: Callable[[], str]) -> Check:
    """Make a check that passes unless something is raised; whatever is raised is the finding."""
    try:
        return Check(name=name, passed=True, detail=attempt())
    except Exception as problem:
        lines = str(problem).splitlines() or [""]
        return Check(name=name, passed=False, detail=f"{type(problem).__name__}: {lines[0]}")


def _try_torchvision() -> str:
    """Look for torchvision's own operators, there only if it was built against this torch."""
    # Imported here: with a torchvision that does not fit, importing it is what fails.
    from covtool.backbones.torchvision_fit import require_operators

    require_operators()
    return f"torchvision {_version('torchvision')} has its operators"


def _training_check(device: Device) -> Check:
    from covtool.diagnosing.tiny_training import train_tiny_network

    return _tried(f"covariance network on {device.name}", lambda: train_tiny_network(device.name))


def _shared_memory_check() -> tuple[Check, ...]:
    size = shared_memory_mib()
    # Only Linux has shared memory as a file system, whose size is a container's to choose.
    if size is None or not sys.platform.startswith("linux"):
        return ()
    advice = "" if size >= ENOUGH_SHARED_MIB else "; in a container, start it with --shm-size 8g"
    return (
        Check(
            name="shared memory for loading processes",
            passed=size >= ENOUGH_SHARED_MIB,
            detail=f"{size:,.0f} MiB in {SHARED_MEMORY}{advice}",
        ),
    )
