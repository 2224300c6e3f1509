"""How much memory this process may still take."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def free_memory() -> int | None:
    """Bytes of memory that this process may still take; None where the system does not tell."""
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
    """Return what the control group leaves; files that it has read can be dropped."""
    try:
        limit = int((CGROUP / "memory.max").read_text())  # or "max"
        used = int((CGROUP / "memory.current").read_text())
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        parts = {name: int(value) for name, value in (line.split() for line in lines)}
    except (OSError, ValueError):
        return None
    return max(0, limit - used + parts.get("inactive_file", 0))
