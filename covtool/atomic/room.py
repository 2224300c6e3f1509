"""Room on a disk, looked at before anything is computed that is to be written there."""

import os
from pathlib import Path

from covtool.atomic.places import place_of
from covtool.errors import ArgumentError


def require_room(path: Path, num_bytes: int) -> None:
    """Refuse an output that is larger than what is free where it goes.

    Args:
        path: The output; the folder it goes to exists.
        num_bytes: Least size of the output, temporary files included.

    Raises:
        ArgumentError: There is less.
    """
    free = _free_bytes(place_of(path).parent)
    if free is not None and num_bytes > free:
        raise ArgumentError(
            f"{path} cannot be written: there is no room for it.",
            reason=f"It takes {num_bytes:,} bytes, and {free:,} are free there.",
            hint="Make room there, or choose another place.",
        )


def _free_bytes(folder: Path) -> int | None:
    """Return the bytes that this process may take; None where the system does not count them."""
    try:
        status = os.statvfs(folder)
    except (AttributeError, OSError):  # Windows has no statvfs
        return None
    if not status.f_blocks:  # a file system that does not count, as some of FUSE
        return None
    # A share of the blocks is kept for root: f_bavail leaves it out, f_bfree does not.
    return status.f_frsize * (status.f_bavail if os.geteuid() else status.f_bfree)
