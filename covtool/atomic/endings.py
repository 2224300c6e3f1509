"""Signals that end a process without a word: what is unfinished is tidied up first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class _EndedBySignal(BaseException):
    """Leaves a block so that it tidies up."""


@contextmanager
def tidied_up_when_ended() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the block, with every ``finally`` in it, then end the process.

    Where a handler is set, or the signal is ignored, that stays. Only the main thread can set
    handlers; in another one nothing is done.
    """
    arrived: list[int] = []
    own = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a process that was forked in the block: nothing is its own
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        arrived.append(number)
        raise _EndedBySignal

    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n in SIGNALS if is_main and signal.getsignal(n) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, leave)
        yield
    except _EndedBySignal:
        if not arrived:
            raise  # of a block around this one
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        if arrived:
            signal.raise_signal(arrived[0])
