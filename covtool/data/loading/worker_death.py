"""Death of a process that loads images: its reason, read from torch's message and exit codes."""

import errno
import multiprocessing.process
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch.utils.data._utils import signal_handling

from covtool.errors import WorkerError
from covtool.shortages import (
    OPEN_FILES,
    SHARED,
    SHARED_MEMORY,
    Shortage,
    shortage_behind,
    shortage_of,
)

LOST = (ConnectionError, EOFError)  # of a process that died while it handed a batch over
PATIENCE_S, PAUSE_S = 2.0, 0.01  # a process has ended soon after the connection is lost
TORCH_MESSAGE = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")
ENDED = re.compile(r"exited unexpectedly with exit code (\d+)")
UNEXPECTED = "exited unexpectedly"  # torch did not look why
FAILED = 1  # the exit code of a worker that cannot say why by the number of an error


_NUMBERS = {OPEN_FILES: min(OPEN_FILES.numbers), SHARED: errno.ENOSPC}
"""Exit codes for shortages whose error carries no number."""


Batch = TypeVar("Batch")


@contextmanager
def no_signal_raises() -> Iterator[None]:
    """Take torch's handler of SIGCHLD away again, which a loader sets as it starts its workers.

    It raises wherever the main thread is when a worker dies. In a hook of a fork and in a
    finalizer Python passes over what is raised: the death went unnoticed, and a lock that was
    about to be let go of stayed taken for ever. `watched` looks in its place.
    """
    try:
        yield
    finally:
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGCHLD)
            if getattr(handler, "__module__", None) == signal_handling.__name__:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def watched(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches; before each, look whether a worker has died.

    Raises:
        RuntimeError: One has; torch's, for `translate_worker_death`.
    """
    end = object()
    while True:
        signal_handling._error_if_any_worker_fails()
        batch = next(batches, end)
        if batch is end:
            return
        yield batch


@contextmanager
def translate_worker_death(workers: int) -> Iterator[None]:
    """Raise covtool's error in place of torch's where a worker dies.

    Args:
        workers: Number of processes, for the hint.

    Raises:
        WorkerError: A worker died in the block.
    """
    try:
        yield
    except RuntimeError as problem:
        if isinstance(problem, WorkerError) or not (found := TORCH_MESSAGE.search(str(problem))):
            raise
        raise _worker_error(found, workers) from problem
    except LOST as problem:
        if (found := _awaited()) is None:
            raise
        raise _worker_error(found, workers) from problem


def end_where_batches_are_lost() -> None:
    """End this worker once a batch cannot be handed over or one of its threads fails.

    Python itself would print a traceback, or the same one for ever, and torch wait for the batch
    until the command is ended. The exit code is the number of the system's error.
    """
    # A batch is pickled in the queue's feeder thread, after the worker has gone on: no exception
    # reaches torch's own handling there, only this hook of the standard library.
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_of_feeder)
    sys.excepthook = _end_of_thread


def _end_of_feeder(problem: BaseException, batch: object) -> None:
    _end_worker(problem)


def _end_of_thread(kind: type[BaseException], problem: BaseException, traceback: object) -> None:
    _end_worker(problem)


def _end_worker(problem: BaseException) -> None:
    number = getattr(problem, "errno", None)
    if number is None:
        number = _NUMBERS.get(shortage_behind(problem), FAILED)
    os._exit(number)


def _shortage(processes: str, how: str) -> Shortage | None:
    """Return what workers lacked that ended by themselves; see `end_where_batches_are_lost`."""
    ended = ENDED.match(how)
    if ended:
        return shortage_of(int(ended[1]))
    if how != UNEXPECTED:
        return None
    return next(filter(None, map(shortage_of, _exit_codes(processes))), None)


def _exit_codes(processes: str) -> list[int]:
    """Return exit codes of workers of which torch gives none; multiprocessing knows its children.

    Args:
        processes: Their numbers, as torch's message has them.
    """
    started = list(getattr(multiprocessing.process, "_dangling", ()))
    return [child.exitcode or 0 for child in started if str(child.pid) in processes.split(", ")]


def _of_signal(processes: str) -> str | None:
    """Return how workers ended that a signal ended, in torch's words; None where none did."""
    numbers = [-code for code in _exit_codes(processes) if code < 0]
    return f"is killed by signal: {signal.strsignal(numbers[0])}." if numbers else None


def _awaited() -> re.Match[str] | None:
    """Wait for torch's message, which follows the loss of a connection; None without one."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            signal_handling._error_if_any_worker_fails()
        except RuntimeError as problem:
            return TORCH_MESSAGE.search(str(problem))
        time.sleep(PAUSE_S)
    return None


def shared_memory_mib() -> float | None:
    """Return the size of the memory for batches between processes; None where there is none."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return found.f_frsize * found.f_blocks / 2**20


def _worker_error(found: re.Match[str], workers: int) -> WorkerError:
    process, how = found[1], found[2].strip()
    if how == UNEXPECTED:
        how = _of_signal(process) or how
    fewer = f"Load with fewer processes: --workers {workers // 2} (it was {workers})."
    if "Bus error" in how:
        size = shared_memory_mib()
        measured = "" if size is None else f", {size:,.0f} MiB"
        reason = f"The shared memory ({SHARED_MEMORY}{measured}) is probably full."
        hint = f"Give the container more, as with docker run --shm-size 8g. {fewer}"
    elif (shortage := _shortage(process, how)) is not None:
        reason = shortage.message
        hint = shortage.hint
    elif "Killed" in how or how == UNEXPECTED:
        reason = "It was killed, most often by the system when memory is short."
        hint = fewer
    else:
        reason = f"It {how.split('. ')[0].rstrip('.')}."
        hint = f"{fewer} With --workers 0 an error of the library that reads images is shown."
    return WorkerError(
        f"A process that loads images died (process {process}).", reason=reason, hint=hint
    )
