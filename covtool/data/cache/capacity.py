"""Whether a cache fits where it is to be."""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from covtool.data.cache.forms import Shrunk
from covtool.data.cache.limits import (
    free_on_device,
    free_on_disk,
    processes_here,
)
from covtool.data.cache.planning import CachePlan
from covtool.data.cache.request import CacheSetting
from covtool.errors import ArgumentError
from covtool.free_memory import free_memory
from covtool.specs import LoadingSpec
from covtool.specs.byte_amounts import format_bytes

LARGEST_SIDE = 2**14  # that is tried for a hint


@dataclass(frozen=True, slots=True)
class Room:
    """Where a cache is to be.

    Attributes:
        where: In words that follow an amount.
        free: Bytes; None if nobody knows.
        copies: How many processes want as much there.
    """

    where: str
    free: int | None
    copies: int = 1


def require_room(plans: Collection[CachePlan], setting: CacheSetting) -> None:
    """Tell what caches need before they are filled, and refuse what does not fit.

    Args:
        plans: All caches that are to be filled.
        setting: Where.

    Raises:
        ArgumentError: They need more than they may have, or than is free.
    """
    room, spec = _room(setting), setting.spec
    needed = sum(plan.num_bytes for plan in plans)
    images = " and ".join(f"{len(plan.samples)} {plan.request.split} images" for plan in plans)
    setting.note(f"The cache takes {format_bytes(needed)} {room.where}: {images}.")
    if needed > spec.memory_bytes:
        raise ArgumentError(
            f"The cache needs {format_bytes(needed)}, but --cache-memory allows "
            f"{format_bytes(spec.memory_bytes)}.",
            hint=_advice(plans, spec, needed, spec.memory_bytes, allow=True),
        )
    if room.free is not None and needed * room.copies > room.free:
        each = f" in each of {room.copies} processes" if room.copies > 1 else ""
        raise ArgumentError(
            f"The cache needs {format_bytes(needed)}{each}, but {format_bytes(room.free)} "
            f"{room.where} are free.",
            hint=_advice(plans, spec, needed, room.free // room.copies),
        )


def _room(setting: CacheSetting) -> Room:
    if setting.spec.cache == "disk":
        folder = setting.spec.folder
        return Room(f"in {folder}", free_on_disk(folder))
    if setting.spec.cache == "ram" or setting.device.type == "cpu":
        return Room("of memory", free_memory(), copies=processes_here())
    return Room(f"of the memory of {setting.device}", free_on_device(setting.device))


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
    shrinking = [plan for plan in plans if isinstance(plan.form, Shrunk)]
    if not shrinking:
        return None
    others = sum(plan.num_bytes for plan in plans if plan not in shrinking)

    def needed(side: int) -> float:
        return others + sum(_bytes_at(plan, side) for plan in shrinking)

    side = bisect_right(range(1, LARGEST_SIDE), allowed, key=needed)
    return side if side >= max(min(plan.form.crop) for plan in shrinking) else None


def _bytes_at(plan: CachePlan, side: int) -> float:
    """Return what a plan of shrunk images would take with another short side."""
    spaces = plan.index.spaces[plan.index.readable].astype(np.float64)
    factors = np.minimum(1, side / spaces.min(1))
    extents = np.round(spaces * factors[:, None])
    return float(extents.prod(1).sum()) * plan.setting.channels
