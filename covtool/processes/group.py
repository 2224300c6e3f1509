"""Several processes, by torch.distributed."""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from covtool.launch_environment import Place
from covtool.processes.alone import Processes
from covtool.processes.watchdog import Watchdog

R = TypeVar("R")
T = TypeVar("T")


class ProcessGroup(Processes):
    """Several processes; torch's default process group must have been made.

    What goes through here is small and lies on the CPU, so that gloo carries it: gloo says when it
    has waited too long, where a CUDA kernel would hang. Only `add_`, `average_` and `tensors`
    follow what they are given.

    Args:
        place: Rank of this process, and the number of processes.
        watchdog: Record of where each process is, should one be missed.
    """

    def __init__(self, place: Place, watchdog: Watchdog) -> None:
        self.rank, self.world = place.rank, place.world
        self.local_rank, self.local_world = place.local_rank, place.local_world
        self._watchdog = watchdog

    def each(self, work: Callable[[], T]) -> list[T]:
        own = _attempt(work)
        outcomes: list[Any] = [None] * self.world
        self._meet(dist.all_gather_object, outcomes, own.portable())
        outcomes[self.rank] = own
        return [outcome.unwrap() for outcome in outcomes]

    def agreed(
        self, work: Callable[[], tuple[T, Sequence[float]]], *, numbers: int
    ) -> tuple[T, list[tuple[float, ...]]]:
        own = _attempt(work)
        row = (0.0,) * numbers if own.problem else own.value[1]
        failed, *columns = self._columns((float(own.problem is not None), *row))
        if any(failed):
            self.each(_Outcome(problem=own.problem).unwrap)
        return own.value[0], columns

    def main(self, work: Callable[[], T]) -> T:
        own = _attempt(work) if self.is_main else None
        box = [own.portable() if own else None]
        self._meet(dist.broadcast_object_list, box, src=0)
        return (own or box[0]).unwrap()

    def sum(self, *values: float) -> list[float]:
        return [sum(column) for column in self._columns(values)]

    def most(self, *values: float) -> list[float]:
        return [max(column) for column in self._columns(values)]

    def _columns(self, values: Sequence[float]) -> list[tuple[float, ...]]:
        """Return each value of all processes, by rank: sums are always taken in the same order."""
        own = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.world)]
        self._meet(dist.all_gather, rows, own)
        return list(zip(*(row.tolist() for row in rows), strict=True))

    def add_(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        self._meet(dist.all_reduce, flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def average_(self, tensors: Sequence[Tensor]) -> None:
        self.add_(tensors)
        for tensor in tensors:
            tensor.div_(self.world)

    def interleaved(self, items: Iterable[T]) -> Iterator[T]:
        own, more = iter(items), True
        while more:
            # An item in a list, or an empty list where there is none left.
            received, more = self._received(_attempt(lambda: list(islice(own, 1))))
            yield from received

    def main_over(
        self, share: Callable[[], Iterable[T]], work: Callable[[Callable[[], Iterable[T]]], R]
    ) -> R:
        passes: list[str] = []

        def again() -> Iterator[T]:
            self.main(lambda: True)
            passes.append("begun")
            yield from self.interleaved(share())
            passes.append("over")

        outcome = None
        if self.is_main:
            outcome = _attempt(lambda: work(again))
            if passes[-1:] == ["begun"]:  # what failed on the way was raised in all, or breaks it
                return outcome.unwrap()
            self.main(lambda: False)
        else:
            while self.main(lambda: True):
                deque(self.interleaved(share()), maxlen=0)
        return self.main(lambda: outcome.unwrap())

    def _received(self, own: "_Outcome[list[T]]") -> tuple[list[T], bool]:
        """Return what all sent, in the main process; whether any sent something, in all."""
        outcomes: list[Any] = [None] * self.world if self.is_main else []
        self._meet(dist.gather_object, own.portable(), outcomes or None, dst=0)
        items: list[T] = []

        def unwrap() -> bool:
            items.extend(chain.from_iterable(outcome.unwrap() for outcome in outcomes))
            return bool(items)

        more = self.main(unwrap)
        return items, more

    def tensors(self, tensor: Tensor) -> list[Tensor]:
        counts = self.each(lambda: len(tensor))
        own = tensor.new_zeros(max(counts), *tensor.shape[1:])  # collectives want equal sizes
        own[: len(tensor)] = tensor.detach()
        received = [torch.empty_like(own) for _ in counts]
        self._meet(dist.all_gather, received, own)
        return [rows[:count] for rows, count in zip(received, counts, strict=True)]

    @contextmanager
    def first_of_machine(self) -> Iterator[None]:
        if self.local_rank:
            self._meet(dist.barrier)
        try:
            yield
        finally:
            if not self.local_rank:
                self._meet(dist.barrier)

    def _meet(self, collective: Callable[..., object], *values: Any, **options: Any) -> None:
        self._watchdog.arrive(self.doing)
        try:
            collective(*values, **options)
        except RuntimeError as problem:
            raise self._watchdog.explain(problem) from problem


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    """What some work returned, or raised."""

    value: T | None = None
    problem: Exception | None = None

    def unwrap(self) -> T:
        if self.problem is not None:
            raise self.problem
        return self.value

    def portable(self) -> "_Outcome[T]":
        """Return the same in a form that another process can read."""
        if self.problem is None:
            return self
        try:
            pickle.loads(pickle.dumps(self.problem))
        except Exception:  # whatever a foreign exception's own code does
            name = type(self.problem).__name__
            return _Outcome(problem=RuntimeError(f"{name}: {self.problem}"))
        return self


def _attempt(work: Callable[[], T]) -> _Outcome[T]:
    try:
        return _Outcome(value=work())
    except Exception as problem:
        return _Outcome(problem=problem)
