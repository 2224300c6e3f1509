"""A process that torchrun, or a launcher like it, has started joins the others."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist

from covtool.errors import CovtoolError, DeadlockError, ProcessGroupError
from covtool.launch_environment import ADDRESS, PORT, Place, required_place
from covtool.processes.alone import ALONE, Processes
from covtool.processes.group import ProcessGroup
from covtool.processes.watchdog import NOWHERE, Watchdog

STARTING_S = 600.0  # until all processes are there

_joined_before = count()
_current: ContextVar[Processes] = ContextVar("processes", default=ALONE)


def current() -> Processes:
    """Return the processes that this one has joined; itself alone outside of `joined`."""
    return _current.get()


@contextmanager
def joined(*, timeout_s: float) -> Iterator[Processes]:
    """Join the processes that the environment names (``RANK``, ``WORLD_SIZE``, ...).

    Without such variables, this process is alone.

    The error of a block that fails has `tell_once`: see `CovtoolError`.

    Args:
        timeout_s: Seconds that a process waits for another.

    Raises:
        ArgumentError: The environment speaks of several processes, but not clearly.
        ProcessGroupError: The place where they are to meet cannot be reached.
        DeadlockError: Another process did not answer for so long.
        LostProcessError: Another process is gone.
    """
    place = required_place()
    if place is None or place.world == 1:
        yield ALONE
        return
    timeout = timedelta(seconds=timeout_s)
    store = dist.PrefixStore(f"covtool/{next(_joined_before)}", _meeting_place(place, timeout))
    watchdog = Watchdog(store, place.rank, place.world, timeout_s=timeout_s)
    try:
        # Importing torch takes time and is no deadlock.
        _wait_for_all(store, place, "here", timeout_s=STARTING_S)
        _connect(store, place, timeout)
        # Who leaves at once, as with an error of all, would cut off who is still connecting.
        _wait_for_all(store, place, "connected", timeout_s=timeout_s)
        processes = ProcessGroup(place, watchdog)
        token = _current.set(processes)
        try:
            yield processes
        finally:
            _current.reset(token)
    except Exception as problem:
        foreign = isinstance(problem, RuntimeError) and not isinstance(problem, CovtoolError)
        error = watchdog.explain(problem) if foreign else problem
        error.tell_once = watchdog.tell_once()
        _leave(failed=True)
        if error is problem:
            raise
        raise error from problem
    else:
        _leave(failed=False)


def _connect(store: dist.Store, place: Place, timeout: timedelta) -> None:
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=store, rank=place.rank, world_size=place.world, timeout=timeout
    )


def _meeting_place(place: Place, timeout: timedelta) -> dist.Store:
    try:
        store, _, _ = next(dist.rendezvous("env://", place.rank, place.world, timeout=timeout))
    except (RuntimeError, OSError, ValueError) as problem:
        where = f"{os.environ[ADDRESS]}:{os.environ[PORT]}"
        lonely = ProcessGroupError(
            f"Rank {place.rank} of {place.world} cannot reach the others at {where}.",
            reason=next(iter(str(problem).splitlines()), type(problem).__name__),
            hint=f"{ADDRESS} and {PORT} name the machine of rank 0, for all of them alike.",
        )
        lonely.tell_once = _tell_it_oneself
        raise lonely from problem
    return store


def _tell_it_oneself(tell: Callable[[], int]) -> int:
    return tell()


def _wait_for_all(store: dist.Store, place: Place, what: str, *, timeout_s: float) -> None:
    store.set(f"{what}/{place.rank}", "")
    keys = [f"{what}/{rank}" for rank in range(place.world)]
    try:
        store.wait(keys, timedelta(seconds=timeout_s))
    except RuntimeError as problem:
        # Where the store itself is gone, asking it once more says so.
        missing = [rank for rank, key in enumerate(keys) if not store.check([key])]
        if not missing:  # the last of them has come in this moment
            return
        raise DeadlockError(
            dict.fromkeys(missing, NOWHERE), place.world, waiting=NOWHERE, timeout_s=timeout_s
        ) from problem


def _leave(*, failed: bool) -> None:
    if not dist.is_initialized():
        return
    if not failed or dist.get_backend() == "gloo":  # NCCL would wait for what never comes
        dist.destroy_process_group()
