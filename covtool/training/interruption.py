"""SIGINT and SIGTERM end a run at the next safe place."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from covtool.progress import Track

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopHere(Exception):  # noqa: N818 -- not an error: control flow between two functions
    """Raised by `Interruption.check` once a signal has arrived."""


class Interruption:
    """Whether a signal has arrived.

    Attributes:
        signal_number: The signal; None as long as there is none.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def check(self) -> None:
        """Stop here if a signal has arrived.

        Raises:
            StopHere: It has.
        """
        if self.signal_number is not None:
            raise StopHere

    def watching(self, track: Track) -> Track:
        """A `Track` that stops between two items once a signal has arrived."""

        def watched(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
            for item in track(iterable, description, total):
                self.check()
                yield item

        return watched

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: remember the first signal, give way to a second."""
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Note signals while in the block, instead of being stopped by them.

    A second signal raises KeyboardInterrupt at once. The old handlers are back afterwards. Only
    the main thread can set handlers; elsewhere nothing is noted.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    old = {number: signal.signal(number, interruption.note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
