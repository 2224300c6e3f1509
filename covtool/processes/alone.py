"""Exchange between processes that work on one task; trivial where there is only one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

R = TypeVar("R")
T = TypeVar("T")


class Processes:
    """The processes that work on a task. This one does, alone; `ProcessGroup` is several.

    Who calls these methods need not know how many there are. Those that exchange something must
    be called by all processes, in the same order.

    Attributes:
        rank: Number of this process, counted from 0.
        world: Number of processes.
        local_rank: Number of this process on its machine, and so of its device; None if it may
            choose.
        local_world: Number of processes on this machine.
        doing: Work in progress, for the message should this process keep the others waiting.
    """

    rank = 0
    world = 1
    local_rank: int | None = None
    local_world = 1
    doing = "the start"

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def each(self, work: Callable[[], T]) -> list[T]:
        """Return what all processes' `work` returned, by rank; what one raised is raised in all."""
        return [work()]

    def agreed(
        self, work: Callable[[], tuple[T, Sequence[float]]], *, numbers: int
    ) -> tuple[T, list[tuple[float, ...]]]:
        """Do some work in each process, and exchange numbers that come of it.

        One small exchange, unless something is raised: then it is raised in all.

        Args:
            work: Returns what this process keeps, and `numbers` numbers.
            numbers: Count of numbers that `work` returns.

        Returns:
            What this process keeps, and for each number those of all processes, by rank.
        """
        kept, own = work()
        return kept, [(number,) for number in own]

    def main(self, work: Callable[[], T]) -> T:
        """Return what `work` returned, which only the main process does; what it raised, in all."""
        return work()

    def sum(self, *values: float) -> list[float]:
        """Return the sums over all processes; exact for integers below 2^53."""
        return [float(value) for value in values]

    def add_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes."""

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes."""

    def most(self, *values: float) -> list[float]:
        """Return the largest of each over all processes."""
        return [float(value) for value in values]

    def interleaved(self, items: Iterable[T]) -> Iterator[T]:
        """Undo `share_of`, item by item: the first of each process, the second of each, ...

        All processes work on their items at the same time. The main one gets them all, in order;
        the others use theirs up and get none.
        """
        yield from items

    def main_over(
        self, share: Callable[[], Iterable[T]], work: Callable[[Callable[[], Iterable[T]]], R]
    ) -> R:
        """Let the main process work on what all processes make, and return its result to all.

        Args:
            share: Function that makes this process's items of `share_of`, anew each time.
            work: Function of a function, which gives the items of all processes, in order. It may
                be called several times, and what it gives has to be used up.
        """
        return work(share)

    def tensors(self, tensor: Tensor) -> list[Tensor]:
        """Gather each process's tensor, by rank, without gradients; numbers of rows may differ."""
        return [tensor.detach()]

    @contextmanager
    def first_of_machine(self) -> Iterator[None]:
        """Let one process of each machine do something first, such as fetching a file."""
        yield

    def part_of(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's part: contiguous, by rank, as equal as can be."""
        size, rest = divmod(len(items), self.world)
        start = self.rank * size + min(self.rank, rest)
        return items[start : start + size + (self.rank < rest)]

    def share_of(self, items: Sequence[T]) -> Sequence[T]:
        """Return this process's items, every `world`-th; `interleaved` brings them together."""
        return items[self.rank :: self.world]


ALONE = Processes()
