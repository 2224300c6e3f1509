"""What decoders say of an image beside its pixels: heard, rather than printed to stderr.

Pillow warns of parts that it leaves out, libtiff writes what is wrong to stderr, and both hand over
pixels all the same. What they say is kept for the thread that decodes, and tells which images
are damaged.
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
    """What was heard while an image was decoded.

    Attributes:
        warnings: Of Pillow.
        errors: Of libtiff.
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


class _Heard(threading.local):
    complaints: Complaints | None = None


_heard = _Heard()
_lock = threading.Lock()
_listeners: list[Complaints] = []
_restoring: list[warnings.catch_warnings] = []


@contextmanager
def complaints() -> Iterator[Complaints]:
    """Hear what decoders say in this thread until the block ends."""
    _hear_all()
    around, own = _heard.complaints, Complaints()
    _heard.complaints = own
    _begin(own)
    try:
        yield own
    finally:
        _heard.complaints = around
        _end(own)


def _begin(listener: Complaints) -> None:
    """Filters of warnings are one for all threads: the first one sets them, the last one resets."""
    with _lock:
        if not _listeners:
            kept = warnings.catch_warnings()
            kept.__enter__()
            _restoring.append(kept)
            warnings.filterwarnings("always", module=_PILLOW)
            warnings.showwarning = _hearing(warnings.showwarning)
        _listeners.append(listener)


def _end(listener: Complaints) -> None:
    with _lock:
        _listeners[:] = [other for other in _listeners if other is not listener]
        if not _listeners:
            _restoring.pop().__exit__(None, None, None)


def _hearing(shown: Any) -> Any:
    """Return what shows warnings, but for those of Pillow in a thread that decodes."""

    def show(message: Warning, category: type, filename: str, *where: Any, **more: Any) -> None:
        heard = _heard.complaints
        if heard is None:
            shown(message, category, filename, *where, **more)
        else:
            heard.warnings.append(printable(" ".join(str(message).split())))

    return show


@cache
def _hear_all() -> None:
    """Have libtiff, where Pillow brings it along, tell its errors here; once for a process.

    Pillow's own log goes where logs go, if that has been set up; else nowhere.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)  # what it is linked to is found as well
        for name, handler in (
            ("TIFFSetErrorHandler", _on_error),
            ("TIFFSetWarningHandler", _Handler()),
        ):
            function = getattr(library, name)
            function.argtypes, function.restype = [_Handler], ctypes.c_void_p
            function(handler)


@_Handler
def _on_error(module: bytes | None, text: bytes | None, values: int | None) -> None:
    heard = _heard.complaints
    if heard is None or heard.errors:  # the first one is enough
        return
    said = (text or b"").decode("ascii", "replace")
    with suppress(OSError, AttributeError):
        buffer = ctypes.create_string_buffer(_LONGEST)
        ctypes.CDLL(None).vsnprintf(buffer, _LONGEST, text, ctypes.c_void_p(values))
        said = buffer.value.decode("latin-1")
    where = (module or b"").decode("latin-1").rpartition("/")[2]
    heard.errors.append(printable(f"{where}: {said}" if where else said).rstrip(". "))
