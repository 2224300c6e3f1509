"""Warnings and errors of decoders: collected for each image rather than printed to stderr.

Pillow warns of parts that it leaves out, libtiff writes what is wrong to stderr, and both hand over
pixels all the same. Their messages are collected for the thread that decodes, and show which
images are damaged.
"""

import ctypes
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from PIL import Image

from covtool.printable import printable

STRUCTURE = frozenset(
    (
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323),
        *(324, 325, 330, 332, 338, 339, 347, 512, 513, 514, 519, 520, 521, 529, 530, 531),
    )
)
"""Tags of a TIFF file without which its pixels would be others."""

_PILLOW = r"PIL(\.|$)"
_CUT_OFF = "Corrupt EXIF data"  # Pillow's words for a directory of tags that ends too early
_SKIPPED = re.compile(r"Skipping tag (\d+)")
_LONGEST = 300  # bytes of one of libtiff's messages

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)


@dataclass(slots=True)
class Complaints:
    """Messages of decoders about an image.

    Attributes:
        warnings: Warnings of Pillow.
        errors: Errors of libtiff.
    """

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def require_none(self, image: Image.Image) -> None:
        """Refuse an image whose pixels are not those that were stored.

        Raises:
            ValueError: libtiff has found it damaged, or it lacks tags that say what it is.
        """
        if image.format != "TIFF":
            return
        if self.errors:
            raise ValueError(f"it is damaged: {self.errors[0]}")
        for text in self.warnings:
            skipped = _SKIPPED.search(text)
            if _CUT_OFF in text or (skipped and int(skipped[1]) in STRUCTURE):
                raise ValueError(f"it is damaged: {text}")


class _Listening(threading.local):
    complaints: Complaints | None = None


_listening = _Listening()
_lock = threading.Lock()
_listeners: list[Complaints] = []
_restoring: list[warnings.catch_warnings] = []


@contextmanager
def complaints() -> Iterator[Complaints]:
    """Collect what decoders report in this thread until the block ends."""
    _install_handlers()
    around, own = _listening.complaints, Complaints()
    _listening.complaints = own
    _begin(own)
    try:
        yield own
    finally:
        _listening.complaints = around
        _end(own)


def _begin(listener: Complaints) -> None:
    """Set the filters of warnings for the first of several threads; the last one resets them."""
    # `catch_warnings` in each thread would restore what another thread has set meanwhile: filters
    # belong to the process, and threads end in any order.
    with _lock:
        if not _listeners:
            kept = warnings.catch_warnings()
            kept.__enter__()
            _restoring.append(kept)
            warnings.filterwarnings("always", module=_PILLOW)
            warnings.showwarning = _collecting(warnings.showwarning)
        _listeners.append(listener)


def _end(listener: Complaints) -> None:
    with _lock:
        _listeners[:] = [other for other in _listeners if other is not listener]
        if not _listeners:
            _restoring.pop().__exit__(None, None, None)


def _collecting(shown: Any) -> Any:
    """Wrap a `showwarning`: in a thread that decodes, warnings are collected instead."""

    def show(message: Warning, category: type, filename: str, *where: Any, **more: Any) -> None:
        found = _listening.complaints
        if found is None:
            shown(message, category, filename, *where, **more)
        else:
            found.warnings.append(printable(" ".join(str(message).split())))

    return show


@cache
def _install_handlers() -> None:
    """Set the error handlers of libtiff, where Pillow brings it along; once for a process.

    Pillow's own log goes where logs go, if that has been set up; else nowhere.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(OSError, AttributeError):
        # Pillow links to its own libtiff under a name with a hash: its symbols are reached through
        # Pillow's extension module, whatever that name is.
        library = ctypes.CDLL(Image.core.__file__)
        for name, handler in (
            ("TIFFSetErrorHandler", _on_error),
            ("TIFFSetWarningHandler", _Handler()),
        ):
            function = getattr(library, name)
            function.argtypes, function.restype = [_Handler], ctypes.c_void_p
            function(handler)


@_Handler
def _on_error(module: bytes | None, text: bytes | None, values: int | None) -> None:
    found = _listening.complaints
    if found is None or found.errors:  # the first one is enough
        return
    message = (text or b"").decode("ascii", "replace")
    with suppress(OSError, AttributeError):
        # libtiff passes a format and a va_list, which only C's vsnprintf can put together.
        buffer = ctypes.create_string_buffer(_LONGEST)
        ctypes.CDLL(None).vsnprintf(buffer, _LONGEST, text, ctypes.c_void_p(values))
        message = buffer.value.decode("latin-1")
    where = (module or b"").decode("latin-1").rpartition("/")[2]
    found.errors.append(printable(f"{where}: {message}" if where else message).rstrip(". "))
