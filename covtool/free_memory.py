"""Free memory of the system and of the container."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Return the bytes of memory that this process may still take; None if unknown."""
    # In a container, /proc/meminfo is still that of the host: the smaller number counts.
    known = [amount for amount in (_free_in_system(), _free_in_container()) if amount is not None]
    return min(known, default=None)


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
    """Return the bytes that the control group leaves; None without a limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # or "max"
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        parts = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return None
    # Cached pages of files count as used, but the kernel drops those that are inactive.
    return max(0, limit - used + parts.get("inactive_file", 0))
