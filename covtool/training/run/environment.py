"""The environment of a run: versions, device and memory."""

import platform
import sys
from typing import Any

import timm
import torch
import torchvision

from covtool import __version__


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return versions and device, for a run's env.json."""
    cuda = device.type == "cuda"
    return {
        "covtool": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # its own class of string otherwise
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if cuda else str(device),
        "threads": torch.get_num_threads(),
    }


def peak_memory_mib(device: torch.device) -> float | None:
    """Return the most memory used so far: of a CUDA device by torch, else of the process.

    Returns:
        MiB; None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
