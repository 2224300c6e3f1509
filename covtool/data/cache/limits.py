"""How much room there is for a cache."""

import os
import shutil
from pathlib import Path

import torch

from covtool.free_memory import free_memory


def free_on_device(device: torch.device) -> int | None:
    """Return bytes free in a device's memory; None where torch cannot tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory() if device.type in ("cpu", "mps") else None


def free_on_disk(folder: Path) -> int:
    """Return bytes free where `folder` is, or is going to be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def processes_here() -> int:
    """Processes of this run on this machine, each with memory of its own; torchrun says it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
