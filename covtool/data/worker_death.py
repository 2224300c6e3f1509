"""A process that loads images dies: what torch says about it, in words that help."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from covtool.errors import WorkerError
from covtool.shortages import SHARED_MEMORY

LOST = (ConnectionError, EOFError)  # of a process that died while it handed a batch over
PATIENCE_S = 2.0
SAID = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")


@contextmanager
def explaining_dead_workers(workers: int) -> Iterator[None]:
    """Turn torch's error about a dead worker into covtool's.

    torch raises it from a signal handler: wherever the main thread is, not only where it waits
    for images.

    Args:
        workers: How many processes there are, for the hint.

    Raises:
        WorkerError: A worker died in the block.
    """
    try:
        yield
    except RuntimeError as problem:
        if isinstance(problem, WorkerError) or not (said := SAID.search(str(problem))):
            raise
        raise _explained(said, workers) from problem
    except LOST as problem:
        if (said := _awaited()) is None:
            raise
        raise _explained(said, workers) from problem


def _awaited() -> re.Match[str] | None:
    """What torch says a moment after the connection to a process was lost: why it ended."""
    try:
        time.sleep(PATIENCE_S)  # ends when the signal handler raises
    except RuntimeError as problem:
        return SAID.search(str(problem))
    return None


def shared_memory_mib() -> float | None:
    """Size of the memory through which workers hand images over; None where there is no such."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return found.f_frsize * found.f_blocks / 2**20


def _explained(said: re.Match[str], workers: int) -> WorkerError:
    process, how = said[1], said[2].strip()
    fewer = f"Load with fewer processes: --workers {workers // 2} (it was {workers})."
    if "Bus error" in how:
        size = shared_memory_mib()
        measured = "" if size is None else f", {size:,.0f} MiB"
        reason = f"The shared memory ({SHARED_MEMORY}{measured}) is probably full."
        hint = f"Give the container more, as with docker run --shm-size 8g. {fewer}"
    elif "Killed" in how or how == "exited unexpectedly":
        reason = "Somebody killed it; most often that is the system, short of memory."
        hint = fewer
    else:
        reason = f"It {how.split('. ')[0].rstrip('.')}."
        hint = f"{fewer} With --workers 0 an error of the library that reads images is shown."
    return WorkerError(
        f"A process that loads images died (process {process}).", reason=reason, hint=hint
    )
