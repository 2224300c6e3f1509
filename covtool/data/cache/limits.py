"""How much room there is for a cache."""

import os
import shutil
from pathlib import Path

import torch

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes of memory that this process may still take; None where the system does not tell."""
    known = [amount for amount in (_free_in_system(), _free_in_container()) if amount is not None]
    return min(known, default=None)


def free_on_device(device: torch.device) -> int | None:
    """Bytes free in a device's memory; None where torch cannot tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory() if device.type in ("cpu", "mps") else None


def free_on_disk(folder: Path) -> int:
    """Bytes free where `folder` is, or is going to be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def processes_here() -> int:
    """Processes of this run on this machine, each with memory of its own; torchrun says it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _free_in_system() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_in_container() -> int | None:
    """What the control group leaves; files that it has read can be dropped."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # or "max"
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        parts = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return None
    return max(0, limit - used + parts.get("inactive_file", 0))
