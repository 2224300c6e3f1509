"""SIGTERM and SIGHUP end a command as Ctrl-C does: in order, with a list of the files written.

A command that trains has its own handlers meanwhile: see `covtool.training.loop.interruption`.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Windows has no SIGHUP.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
INTERRUPTED = 128 + signal.SIGINT  # the exit code of a KeyboardInterrupt


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block at a signal; its exit code becomes that of the signal.

    A signal that is ignored, as `nohup` has it of SIGHUP, stays so. Only the main thread can set
    handlers; in another one nothing is done.

    Raises:
        SystemExit: With 128 and the signal's number, in place of one with that of SIGINT.
    """
    arrived: list[int] = []
    own = os.getpid()  # workers of data loaders inherit the handler

    def end(number: int, frame: FrameType | None) -> None:
        if (
            os.getpid() != own
        ):  # a process that was forked in the block has written no files of its own
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        arrived.append(number)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n in SIGNALS if is_main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in taken}
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if arrived and getattr(stop, "code", INTERRUPTED) == INTERRUPTED:
            raise SystemExit(128 + arrived[0]) from None  # the first one asked for the end
        raise
    finally:
        for number, handler in before.items():
            # SIG_DFL was set so that a second signal ends the process at once
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, handler)


def is_hangup_ignored() -> bool:
    """Return whether SIGHUP is ignored, as under `nohup`."""
    return hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
