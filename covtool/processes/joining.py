"""A process that torchrun, or a launcher like it, has started joins the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist

from covtool.errors import ArgumentError, CovtoolError, DeadlockError
from covtool.processes.alone import ALONE, Processes
from covtool.processes.group import Place, ProcessGroup
from covtool.processes.whereabouts import NOWHERE, Whereabouts

STARTING_S = 600.0  # until all processes are there

_NAMES = {
    "rank": "RANK",
    "world": "WORLD_SIZE",
    "local_rank": "LOCAL_RANK",
    "local_world": "LOCAL_WORLD_SIZE",
}

_joined_before = count()
_current: ContextVar[Processes] = ContextVar("processes", default=ALONE)


def current() -> Processes:
    """The processes that this one has joined; itself alone outside of `joined`."""
    return _current.get()


@contextmanager
def joined(*, timeout_s: float) -> Iterator[Processes]:
    """The processes that the environment speaks of (``RANK``, ``WORLD_SIZE``, ...), or this one.

    The error of a block that fails has `tell_once`: see `CovtoolError`.

    Args:
        timeout_s: How long a process waits for another.

    Raises:
        DeadlockError: Another process did not answer for so long.
        LostProcessError: Another process is gone.
    """
    place = _place()
    if place.world == 1:
        yield ALONE
        return
    whereabouts = _join(place, timeout_s)
    processes = ProcessGroup(place, whereabouts)
    token = _current.set(processes)
    try:
        yield processes
    except Exception as problem:
        foreign = isinstance(problem, RuntimeError) and not isinstance(problem, CovtoolError)
        told = whereabouts.explain(problem) if foreign else problem
        told.tell_once = whereabouts.tell_once()
        _leave(failed=True)
        if told is problem:
            raise
        raise told from problem
    else:
        _leave(failed=False)
    finally:
        _current.reset(token)


def _place() -> Place:
    values = {field: os.environ.get(name, "") for field, name in _NAMES.items()}
    values["local_world"] = values["local_world"] or "1"  # not every launcher says it
    if not values["world"]:
        return Place(rank=0, world=1, local_rank=0, local_world=1)
    wrong = [_NAMES[field] for field, value in values.items() if not value.isdigit()]
    if wrong:
        raise ArgumentError(
            f"The environment has WORLD_SIZE, but no number in {' and '.join(wrong)}.",
            hint="Start several processes with torchrun, or with --nproc.",
        )
    return Place(**{field: int(value) for field, value in values.items()})


def _join(place: Place, timeout_s: float) -> Whereabouts:
    timeout = timedelta(seconds=timeout_s)
    shared, _, _ = next(dist.rendezvous("env://", place.rank, place.world, timeout=timeout))
    store = dist.PrefixStore(f"covtool/{next(_joined_before)}", shared)
    _wait_for_all(store, place)
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=store, rank=place.rank, world_size=place.world, timeout=timeout
    )
    return Whereabouts(store, place.rank, place.world, timeout_s=timeout_s)


def _wait_for_all(store: dist.Store, place: Place) -> None:
    """Processes that start take their time to import torch: that is no deadlock."""
    store.set(f"here/{place.rank}", "")
    keys = [f"here/{rank}" for rank in range(place.world)]
    try:
        store.wait(keys, timedelta(seconds=STARTING_S))
    except RuntimeError as problem:
        missing = [str(rank) for rank, key in enumerate(keys) if not store.check([key])]
        raise DeadlockError(
            dict.fromkeys(missing, NOWHERE), place.world, waiting=NOWHERE, timeout_s=STARTING_S
        ) from problem


def _leave(*, failed: bool) -> None:
    if not failed or dist.get_backend() == "gloo":  # NCCL would wait for what never comes
        dist.destroy_process_group()
