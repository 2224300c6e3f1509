"""The bytes of a pickle and the values that are written out in them, in protocols 0 to 5."""

import codecs
import pickle
import re
import struct
from collections.abc import Callable
from mmap import mmap
from typing import Any

from covtool.checkpoints.pickles.records import PickleError

LARGEST_INTEGER = 1024
"""Bytes of a whole number; what counts more is not a number of a checkpoint."""

LONGEST_ESCAPED = 1 << 20
"""Bytes of a text that is not UTF-8; a longer one is refused."""

MOST_QUOTED = 1 << 24
"""Bytes of all texts in quotes, which protocol 0 writes, with an escape for each odd byte."""

_DIGITS = 2400  # about as many
_LONGEST_REAL = 400  # characters; in decimal, the smallest has 325 places
_WHOLE_NUMBER = re.compile(rb"[-+]?[0-9]+L?")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f"}


class ByteString(str):
    """Text of Python 2 that may as well be bytes.

    Attributes:
        raw: Those bytes.
    """

    __slots__ = ("raw",)
    raw: bytes


class Source:
    """Bytes that are read from front to back, and never past their end.

    Args:
        data: Those bytes, and perhaps more.
        start: The first one.
        end: Position where they end; None for all of `data`.
    """

    def __init__(self, data: bytes | mmap, start: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = start
        self.end = len(data) if end is None else end
        self.quoted = 0  # bytes of text in quotes so far

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return self.end - self.at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = self.at + count
        # Slices of bytes past the end are silently shorter: lengths in a file are never believed.
        if end > self.end:
            raise PickleError(f"A value of {count:,} bytes should follow; the file ends before.")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def line(self, *, longest: int | None = None) -> bytes:
        """Return what is before the next line feed.

        Args:
            longest: Bytes that it may have.
        """
        # Searching is bounded as well: a file of gigabytes without a line feed would be scanned
        # whole.
        last = self.end if longest is None else min(self.at + longest + 1, self.end)
        end = self.data.find(b"\n", self.at, last)
        if end < 0 and last < self.end:
            raise PickleError(f"A line is longer than {longest:,} bytes.")
        if end < 0:
            raise PickleError("A line should follow; the file ends before.")
        taken = self.data[self.at : end]
        self.at = end + 1
        return taken

    def counted(self, width: int) -> bytes:
        """Read a length of `width` bytes, then as many bytes."""
        return self.take(self.unsigned(width))

    def unsigned(self, width: int) -> int:
        """Return a whole number of `width` bytes, little-endian."""
        return int.from_bytes(self.take(width), "little")


def text_of(raw: bytes) -> str:
    """Decode UTF-8; escape what is none, so that every text can be written again."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        if len(raw) > LONGEST_ESCAPED:  # it would take 16 times as much memory
            raise PickleError(f"A text of {len(raw):,} bytes is not UTF-8.") from problem
        return raw.decode("utf-8", "backslashreplace")


def line_text(source: Source) -> str:
    """Return a line of text."""
    return text_of(source.line())


def _integer(raw: bytes) -> int:
    # Turning a long integer into text takes quadratic time.
    if len(raw) > LARGEST_INTEGER:
        raise PickleError(f"A whole number has {len(raw):,} bytes.")
    return int.from_bytes(raw, "little", signed=True)


def whole_number(line: bytes) -> int:
    """Return a whole number as text."""
    if not _WHOLE_NUMBER.fullmatch(line):
        raise PickleError("A whole number is none.")
    return int(line.removesuffix(b"L"))


def _integer_line(source: Source) -> int | bool:
    line = source.line(longest=_DIGITS)
    # Protocol 0 writes False and True as the integers 00 and 01.
    return line == b"01" if line in (b"00", b"01") else whole_number(line)


def _real_line(source: Source) -> float:
    try:
        return float(source.line(longest=_LONGEST_REAL))
    except ValueError as problem:
        raise PickleError("A real number is none.") from problem


def _byte_string(raw: bytes) -> str:
    if raw.isascii():
        return raw.decode("ascii")
    # Python 2's str is text to some programs and bytes to others: NumPy's arrays hold bytes so.
    text = ByteString(text_of(raw) if len(raw) <= LONGEST_ESCAPED else raw.decode("latin-1"))
    text.raw = raw
    return text


def _quoted(source: Source) -> str:
    line = source.line(longest=MOST_QUOTED - source.quoted).strip()
    source.quoted += len(line)
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise PickleError("A text is not in quotes.")
    return _byte_string(_ESCAPE.sub(_unescaped, line[1:-1]))


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code.isdigit():
        return bytes([int(code, 8) & 0xFF])
    return _ESCAPED.get(code, code)


def _unicode_line(source: Source) -> str:
    try:
        text = codecs.decode(source.line(), "raw_unicode_escape")
    except UnicodeDecodeError as problem:
        raise PickleError("A text has an invalid escape.") from problem
    return text_of(text.encode("utf-8", "backslashreplace"))


LITERALS: dict[bytes, Callable[[Source], Any]] = {
    pickle.NONE: lambda source: None,
    pickle.NEWTRUE: lambda source: True,
    pickle.NEWFALSE: lambda source: False,
    pickle.EMPTY_TUPLE: lambda source: (),
    pickle.EMPTY_LIST: lambda source: [],
    pickle.EMPTY_DICT: lambda source: {},
    pickle.INT: _integer_line,
    pickle.LONG: lambda source: whole_number(source.line(longest=_DIGITS)),
    pickle.BININT: lambda source: _integer(source.take(4)),
    pickle.BININT1: lambda source: source.unsigned(1),
    pickle.BININT2: lambda source: source.unsigned(2),
    pickle.LONG1: lambda source: _integer(source.counted(1)),
    pickle.LONG4: lambda source: _integer(source.counted(4)),
    pickle.FLOAT: _real_line,
    pickle.BINFLOAT: lambda source: struct.unpack(">d", source.take(8))[0],
    pickle.STRING: _quoted,
    pickle.BINSTRING: lambda source: _byte_string(source.counted(4)),
    pickle.SHORT_BINSTRING: lambda source: _byte_string(source.counted(1)),
    pickle.UNICODE: _unicode_line,
    pickle.SHORT_BINUNICODE: lambda source: text_of(source.counted(1)),
    pickle.BINUNICODE: lambda source: text_of(source.counted(4)),
    pickle.BINUNICODE8: lambda source: text_of(source.counted(8)),
    pickle.SHORT_BINBYTES: lambda source: source.counted(1),
    pickle.BINBYTES: lambda source: source.counted(4),
    pickle.BINBYTES8: lambda source: source.counted(8),
    pickle.BYTEARRAY8: lambda source: bytearray(source.counted(8)),
}
