"""Processes that prepare batches: how many, and how they deal with signals."""

import os
import signal
import threading

from covtool.data.loading.worker_death import end_where_batches_are_lost


def useful_workers(workers: int, batches: int) -> int:
    """Return how many processes to start: at most one per core and batch, none for one batch."""
    return min(workers, _cores(), batches if batches > 1 else 0)


def prepare_worker(worker: int) -> None:
    """Set a worker process up, as the loader's ``worker_init_fn``."""
    _leave_signals_to_the_parent()
    end_where_batches_are_lost()


def _leave_signals_to_the_parent() -> None:
    """Ignore signals for the whole group: the parent still needs its batches."""
    # A terminal's Ctrl-C and a scheduler's signal reach every process of the group. The parent
    # saves its state then, and for that it finishes the step that it is in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_asks, daemon=True).start()


def _end_when_the_parent_asks() -> None:
    """End this process once its parent sends SIGTERM, whoever else may send it."""
    # multiprocessing terminates its daemonic children so when the parent ends, and joins them. A
    # thread waits for the signal: a handler would run between two instructions of Python only, not
    # while a decoder in C is busy.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)  # not sys.exit, which would end this thread alone


def _cores() -> int:
    """Return the cores that this process may use; torch warns about more workers than that."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # a container may leave fewer than os.cpu_count()
    return os.cpu_count() or 1
