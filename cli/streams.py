"""The standard streams, whatever they are: closed, full, left by their reader, of any encoding.

Writing to them raises nothing: a command goes on, and its files get written. A failure is kept for
the end, where a result that was lost is an error.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from covtool.errors import CovtoolError

_LEFT = (BrokenPipeError, ConnectionResetError)  # the reader has what it wanted: `| head -1`
_CLOSED = OSError(errno.EBADF, "It is closed")


class Outlet(io.TextIOBase):
    """A standard stream to which writing never fails.

    It has no `buffer`, so that nothing goes past it.

    Args:
        stream: Stream to write to; None for one that was closed before Python started.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._problem: Exception | None = None

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:
        return "backslashreplace"

    @property
    def lost(self) -> str | None:
        """Reason why text was lost; None where all was delivered, or the reader has left."""
        problem = self._problem
        if problem is None or isinstance(problem, _LEFT):
            return None
        if isinstance(problem, OSError) and problem.errno == errno.EBADF:
            problem = _CLOSED
        return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() takes text, not {type(text).__name__}.")
        if text:
            self._attempt(lambda stream: stream.write(encodable(text, self.encoding)))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            self._attempt(lambda stream: stream.flush())

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        with suppress(OSError, ValueError, AttributeError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        # The class that callers of fileno expect, of io.StringIO for example.
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def _attempt(self, write: Callable[[TextIO], object]) -> None:
        # A stream that failed once may take a later part, and leave a gap before it.
        if self._problem is not None:
            return
        try:
            if self._stream is None:
                raise _CLOSED
            write(self._stream)
        except Exception as problem:  # whatever a stream's own code does
            self._problem = problem
            _turn_away(self._stream)


def encodable(text: str, encoding: str) -> str:
    """Return text with characters escaped that an encoding lacks, lone surrogates among them."""
    if text.isascii():  # every encoding of a terminal has these
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:  # an encoding that Python does not know
        return text.encode("ascii", "backslashreplace").decode("ascii")
    return text


@contextmanager
def guarded() -> Iterator[tuple[Outlet, Outlet]]:
    """Put outlets in place of the standard streams, for as long as the block lasts."""
    before = sys.stdout, sys.stderr
    _keep_numbers_taken()
    for stream in filter(None, before):
        _let_wait(stream)
    outlets = Outlet(before[0]), Outlet(before[1])
    sys.stdout, sys.stderr = outlets
    try:
        yield outlets
    finally:
        for outlet in outlets:
            outlet.flush()
        sys.stdout, sys.stderr = before


def undelivered(stdout: Outlet, written: Iterable[Path]) -> CovtoolError | None:
    """Return the error of a result that was lost; None where it was delivered or the reader left.

    Args:
        stdout: Stream of the result.
        written: Files that the command wrote.
    """
    stdout.flush()
    if stdout.lost is None:
        return None
    names = ", ".join(dict.fromkeys(map(str, written)))
    return CovtoolError(
        "The result could not be written to stdout.",
        reason=f"{stdout.lost}.",
        hint=f"Written completely before that: {names}." if names else None,
    )


def _turn_away(stream: TextIO | None) -> None:
    """Send what Python itself writes at its end to nowhere, in place of a second failure."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _keep_numbers_taken() -> None:
    """Give closed standard streams their numbers back, so that no file of a model gets them.

    What a library prints would end in that file. Nothing can be written there, as before: other
    processes that inherit it notice that their output is lost.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_RDONLY)
                os.dup2(nowhere, number)
                os.set_inheritable(number, True)
                if nowhere != number:
                    os.close(nowhere)


def _let_wait(stream: TextIO) -> None:
    """Wait for a slow reader, even where the pipe was opened not to."""
    with suppress(OSError, ValueError, AttributeError):
        if not os.get_blocking(stream.fileno()):
            os.set_blocking(stream.fileno(), True)
