"""SIGINT, SIGTERM and SIGHUP end a run at the next safe place."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import FrameType
from typing import Any, TypeVar

from covtool.processes import Processes
from covtool.progress import Track

T = TypeVar("T")

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StopHere(Exception):  # noqa: N818 -- not an error: control flow between two functions
    """Raised by `Interruption.check` once a signal has arrived.

    Attributes:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Interruption:
    """Whether a signal has arrived.

    Attributes:
        signal_number: The signal; None as long as there is none.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.before: dict[int, Any] = {}  # the handlers to bring back after the block

    def check(self) -> None:
        """Stop here if a signal has arrived.

        Raises:
            StopHere: It has.
        """
        if self.signal_number is not None:
            raise StopHere(self.signal_number)

    def check_all(self, processes: Processes) -> None:
        """Stop here, in all processes, if a signal has arrived in one.

        Raises:
            StopHere: It has.
        """
        (number,) = processes.most(self.signal_number or 0)
        if number:
            raise StopHere(int(number))

    def in_step(self, processes: Processes, items: Iterable[T]) -> Iterator[T]:
        """Yield items, as long as every process has one and no signal has arrived in any.

        Raises:
            StopHere: One has.
            Exception: What getting an item raised in one process is raised in all.
        """
        remaining = iter(items)

        def take() -> tuple[list[T], tuple[int, int]]:
            taken = [] if self.signal_number else list(islice(remaining, 1))
            return taken, (self.signal_number or 0, len(taken))

        while True:
            # One exchange for both: a process that stopped alone would leave the others waiting.
            taken, (signals, counts) = processes.agreed(take, numbers=2)
            if max(signals):
                raise StopHere(int(max(signals)))
            if not min(counts):
                return
            yield taken[0]

    def watching(self, track: Track) -> Track:
        """Return a `Track` that stops between two items once a signal has arrived."""

        def watched(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
            for item in track(iterable, description, total):
                self.check()
                yield item

        return watched

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: remember the first, give way to a second."""
        if self.signal_number is None:
            self.signal_number = number
            return
        if callable(handler := self.before.get(number)):
            handler(number, frame)
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note signals while in the block, instead of being stopped by them.

    A second signal raises KeyboardInterrupt at once. The old handlers are back afterwards. One that
    is ignored, as `nohup` has it of SIGHUP, stays so. Only the main thread can set handlers;
    elsewhere nothing is noted.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    interruption.before = {number: signal.getsignal(number) for number in handled}
    for number in handled:
        signal.signal(number, interruption.note)
    try:
        yield interruption
    finally:
        for number, handler in interruption.before.items():
            signal.signal(number, handler)
