"""A record of where each process of a group is, for the message when one is missed."""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from torch.distributed import DistError, Store

from covtool.errors import DeadlockError, LostProcessError

GRACE_S = 2.0  # for the others to notice that they wait in vain as well
NOWHERE = "the start"
PATIENCE_S = 30.0  # for one process to tell an error; torchrun's agent gives as much to the others

_TIMED_OUT = re.compile("timed? ?out", re.IGNORECASE)
_EXCHANGE = re.compile("gloo|nccl", re.IGNORECASE)  # their errors carry the path of their source


class Watchdog:
    """Keeps, in the store that the processes share, what each was about to do.

    Args:
        store: Key-value store that every process can write and read.
        rank: Number of this process, counted from 0.
        world: Number of processes.
        timeout_s: Seconds that a process waits for another.
    """

    def __init__(self, store: Store, rank: int, world: int, *, timeout_s: float) -> None:
        self._store, self._rank, self._world = store, rank, world
        self._timeout_s = timeout_s
        self._meetings = 0

    def arrive(self, doing: str) -> None:
        """Note that this process is about to meet the others, and what for."""
        self._meetings += 1
        self._store.set(f"at/{self._rank}", json.dumps([self._meetings, doing]))

    def tell_once(self) -> Callable[[Callable[[], int]], int]:
        """Return how a failing process reports its error; to be called before it leaves.

        Returns:
            See `CovtoolError.tell_once`. The first process to fail reports its error; the others,
            which may know nothing but that it left, wait until that is done. The exit code is 1
            where it cannot be known.
        """
        return self._tell if self._is_first() else self._leave_it_to_another

    def _is_first(self) -> bool:
        try:
            return self._store.add("failed", 1) == 1
        except RuntimeError:  # the process that holds the store is gone, and the count with it
            return True

    def _tell(self, tell: Callable[[], int]) -> int:
        code = tell()
        with suppress(RuntimeError):
            self._store.set("exit code", str(code))
        return code

    def _leave_it_to_another(self, tell: Callable[[], int]) -> int:
        try:
            self._store.wait(["exit code"], timedelta(seconds=PATIENCE_S))
            return int(self._store.get("exit code"))
        except RuntimeError:
            return 1

    def explain(self, problem: RuntimeError) -> Exception:
        """Return what torch's error about a failed exchange means; `problem` if it is about none.

        Every process that waits in vain comes here at about the same time: who does not is missed.
        """
        if not isinstance(problem, DistError) and not _EXCHANGE.search(str(problem)):
            return problem
        if not _TIMED_OUT.search(str(problem)):
            return LostProcessError(self._rank, self._world)
        try:
            return self._missed()
        except RuntimeError:
            return LostProcessError(self._rank, self._world)

    def _missed(self) -> DeadlockError:
        self._store.set(f"waits/{self._rank}", "")
        time.sleep(min(GRACE_S, self._timeout_s))
        others = [rank for rank in range(self._world) if rank != self._rank]
        silent = [rank for rank in others if not self._store.check([f"waits/{rank}"])]
        places = {rank: self._place(rank) for rank in silent or others}
        fewest = min(meetings for meetings, _ in places.values())
        behind = {rank: doing for rank, (meetings, doing) in places.items() if meetings == fewest}
        return DeadlockError(
            behind, self._world, waiting=self._place(self._rank)[1], timeout_s=self._timeout_s
        )

    def _place(self, rank: int) -> tuple[int, str]:
        if not self._store.check([f"at/{rank}"]):
            return 0, NOWHERE
        meetings, doing = json.loads(self._store.get(f"at/{rank}"))
        return meetings, doing
