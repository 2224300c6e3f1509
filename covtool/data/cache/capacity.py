"""Capacity for caches in memory, on a disk or on a device, and what to do if it is too small."""

import os
import shutil
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from covtool.data.cache.forms import ShrunkForm
from covtool.data.cache.planning import CachePlan
from covtool.data.cache.request import CacheSetting
from covtool.errors import ArgumentError
from covtool.free_memory import free_memory
from covtool.launch_environment import LOCAL_WORLD
from covtool.specs import LoadingSpec
from covtool.specs.byte_amounts import format_bytes

LARGEST_SIDE = 2**14  # pixels, the most that a hint recommends


@dataclass(frozen=True, slots=True)
class Capacity:
    """Memory or disk that a cache is to be in.

    Attributes:
        where: Name of the place, in words that follow an amount.
        free: Free bytes; None if unknown.
        copies: Processes that each need as much there.
    """

    where: str
    free: int | None
    copies: int = 1


def require_capacity(plans: Collection[CachePlan], setting: CacheSetting) -> None:
    """Note the size of caches before they are filled, and refuse what does not fit.

    Args:
        plans: All caches that are to be filled.
        setting: Place of the caches.

    Raises:
        ArgumentError: They need more than they may have, or than is free.
    """
    capacity, spec = _capacity(setting), setting.spec
    needed = sum(plan.num_bytes for plan in plans)
    images = " and ".join(f"{len(plan.samples)} {plan.request.split} images" for plan in plans)
    setting.note(f"The cache takes {format_bytes(needed)} {capacity.where}: {images}.")
    if needed > spec.memory_bytes:
        raise ArgumentError(
            f"The cache needs {format_bytes(needed)}, but --cache-memory allows "
            f"{format_bytes(spec.memory_bytes)}.",
            hint=_advice(plans, spec, needed, spec.memory_bytes, allow=True),
        )
    if capacity.free is not None and needed * capacity.copies > capacity.free:
        each = f" in each of {capacity.copies} processes" if capacity.copies > 1 else ""
        raise ArgumentError(
            f"The cache needs {format_bytes(needed)}{each}, but {format_bytes(capacity.free)} "
            f"{capacity.where} are free.",
            hint=_advice(plans, spec, needed, capacity.free // capacity.copies),
        )


def _capacity(setting: CacheSetting) -> Capacity:
    if setting.spec.cache == "disk":
        folder = setting.spec.folder
        return Capacity(f"in {folder}", free_on_disk(folder))
    if setting.spec.cache == "ram" or setting.device.type == "cpu":
        # A cache in memory is not shared between the processes of a run, only with their workers.
        return Capacity("of memory", free_memory(), copies=processes_here())
    return Capacity(f"of the memory of {setting.device}", free_on_device(setting.device))


def _advice(
    plans: Collection[CachePlan],
    spec: LoadingSpec,
    needed: int,
    allowed: int,
    *,
    allow: bool = False,
) -> str:
    """Return what to do about a cache that is too large."""
    ways = [f"allow it with --cache-memory {-(-needed // 10**9)}GB"] if allow else []
    ways += ["map it from a file with --cache disk"] if spec.cache != "disk" else []
    side = fitting_side(plans, allowed)
    ways += [f"keep smaller images with --cache-side {side}"] if side else []
    ways += ["leave out --cache"]
    text = ", ".join(ways[:-1]) + f", or {ways[-1]}." if len(ways) > 1 else f"{ways[0]}."
    return text[:1].upper() + text[1:]


def fitting_side(plans: Collection[CachePlan], allowed: int) -> int | None:
    """Return the largest ``--cache-side`` with which caches take no more than `allowed` bytes.

    Returns:
        Pixels; None where it would be less than the network's images have.
    """
    shrinking = [plan for plan in plans if isinstance(plan.form, ShrunkForm)]
    if not shrinking:
        return None
    others = sum(plan.num_bytes for plan in plans if plan not in shrinking)

    def needed(side: int) -> float:
        return others + sum(_bytes_at(plan, side) for plan in shrinking)

    # The size grows with the side, so the largest that fits is found without trying all.
    side = bisect_right(range(1, LARGEST_SIDE), allowed, key=needed)
    return side if side >= max(min(plan.form.crop) for plan in shrinking) else None


def _bytes_at(plan: CachePlan, side: int) -> float:
    """Return the bytes of a plan of shrunk images with another short side."""
    spaces = plan.index.spaces[plan.index.readable].astype(np.float64)
    factors = np.minimum(1, side / spaces.min(1))
    extents = np.round(spaces * factors[:, None])
    return float(extents.prod(1).sum()) * plan.setting.channels


def free_on_device(device: torch.device) -> int | None:
    """Return bytes free in a device's memory; None where torch cannot tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_memory() if device.type in ("cpu", "mps") else None


def free_on_disk(folder: Path) -> int:
    """Return bytes free where `folder` is, or is going to be."""
    while not folder.exists():  # the folder is made with the first file
        folder = folder.parent
    return shutil.disk_usage(folder).free


def processes_here() -> int:
    """Return how many processes of this run are on this machine, by torchrun's variable."""
    return int(os.environ.get(LOCAL_WORLD, "1"))
