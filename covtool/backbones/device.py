"""A word becomes a device that is really there."""

from typing import Any

import torch
from torch import Tensor

from covtool.errors import ArgumentError
from covtool.processes import ALONE, Processes


def resolve_device(name: str = "auto", processes: Processes = ALONE) -> torch.device:
    """Return the device of that name; ``auto`` is cuda where there is one, else mps, else cpu.

    Args:
        name: Word of ``--device``.
        processes: Processes of the task; of several, each has a ``cuda`` device of its machine.

    Raises:
        ArgumentError: torch does not know the name, or this machine has no such device.
    """
    if processes.local_rank is not None:
        name = _own(name, processes.local_rank)
    if name == "auto":
        return torch.device(_best())
    try:
        device = torch.device(name)
    except RuntimeError as problem:
        raise ArgumentError(
            f"There is no device called {name!r}.", hint="Choose auto, cpu, cuda, cuda:1 or mps."
        ) from problem
    if device.type == "cuda":
        _require(device, torch.cuda.device_count())
    elif device.type == "mps":
        # torch takes mps:1 too, but a machine has one at most.
        _require(device, int(torch.backends.mps.is_available()))
    elif device.type != "cpu":
        raise ArgumentError(
            f"covtool does not run on {name!r}.", hint="Choose auto, cpu, cuda, cuda:1 or mps."
        )
    return device


def sent_to(device: torch.device | str, tensor: Tensor, **changes: Any) -> Tensor:
    """Return a tensor on a device, sent there without waiting for it where that is safe.

    Loaders pin memory on CUDA: copying goes on while the device still computes. Elsewhere the
    memory may be changed before it is read.

    Args:
        device: The device.
        tensor: The tensor.
        **changes: Other settings of `Tensor.to`.
    """
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda", **changes)


def _own(name: str, local_rank: int) -> str:
    if name not in ("auto", "cuda", "cpu"):
        raise ArgumentError(
            f"--device {name} is one device, and each of several processes needs its own.",
            hint="Choose --device cuda, cpu or auto.",
        )
    # mps is one device, which several processes would share: they take the CPU.
    wants_cuda = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return f"cuda:{local_rank}" if wants_cuda else "cpu"


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require(device: torch.device, count: int) -> None:
    # Without a number it is the current one, which is there where any is.
    if (device.index or 0) < count:
        return
    raise ArgumentError(
        f"This machine has no device {str(device)!r}.",
        reason=f"torch {torch.__version__} sees {count} of that kind.",
        hint="Choose --device auto, or cpu.",
    )
