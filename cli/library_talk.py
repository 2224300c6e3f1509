"""Warnings and log records of libraries, shown as a printable line each.

Both may carry text of a file, and would reach stderr as they are.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from covtool.printable import printable

FOR_DEVELOPERS = (
    *(DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning),
    *(ResourceWarning, SyntaxWarning, EncodingWarning),
)
"""Warnings about code, which do not help a user of the command line; --debug shows them."""

LONGEST_REMARK = 500
"""Characters of a warning or of a log record that are shown."""


@contextmanager
def in_lines(*, debug: bool) -> Iterator[None]:
    """Show warnings and log records through the renderer, for as long as the block lasts.

    Args:
        debug: Whether to show all of them, with the place each comes from.
    """
    before = warnings.showwarning, logging.getLogRecordFactory(), logging.lastResort
    warnings.showwarning = _WarningLines(debug=debug)
    logging.setLogRecordFactory(_PrintableRecord)
    logging.lastResort = _RecordLines(logging.WARNING)
    try:
        with _hooks(debug=debug):
            yield
    finally:
        warnings.showwarning, factory, logging.lastResort = before
        logging.setLogRecordFactory(factory)


@contextmanager
def _hooks(*, debug: bool) -> Iterator[None]:
    """Set Python's hooks for errors outside of any `try`, unless others have set them already."""
    hooks = sys.unraisablehook, threading.excepthook
    # pytest sets hooks of its own, and would miss the errors that it looks for
    if not debug and hooks == (sys.__unraisablehook__, threading.__excepthook__):
        sys.unraisablehook, threading.excepthook = _say_nothing, _tell_of_thread
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = hooks


def _tell_of_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:
        _tell(_in_a_line(f"a thread ended with {failed.exc_type.__name__}: {failed.exc_value}"))


def _say_nothing(unraisable: Any) -> None:
    """Ignore errors in finalizers: they change nothing, and a user cannot act on them."""


class _WarningLines:
    """Takes the place of `warnings.showwarning`."""

    def __init__(self, *, debug: bool) -> None:
        self._all = debug or bool(sys.warnoptions)  # python -W asks for them
        self._debug = debug

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if self._all or not issubclass(category, FOR_DEVELOPERS):
            where = f" ({category.__name__}, {filename}:{lineno})" if self._debug else ""
            _tell(f"{_in_a_line(str(message))}{where}")


class _PrintableRecord(logging.LogRecord):
    """A log record for whichever handler a library has."""

    def getMessage(self) -> str:  # noqa: N802 -- logging's name
        return _in_a_line(super().getMessage())


class _RecordLines(logging.Handler):
    """Shows the records of libraries that have no handler."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:  # a library's arguments that do not fit its own text
            text = str(record.msg)
        _tell(f"{record.name}: {_in_a_line(text)}")


def _in_a_line(text: str) -> str:
    return printable(" ".join(text.split()), longest=LONGEST_REMARK)


def _tell(text: str) -> None:
    with suppress(Exception):  # a remark is no reason for a command to fail
        from covtool_cli import render

        render.warning(text)
