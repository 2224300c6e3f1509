"""The header of a safetensors file, checked against the file before anything is made of it.

Eight bytes say how long the header is; the header is a JSON object that gives each tensor's dtype,
shape and place; the tensors' bytes follow, all of them, one behind the other. Whatever else a file
has is refused here, so that a reader of the tensors need not doubt a number.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from covtool.printable import printable
from covtool.regular_files import opened

LARGEST_HEADER = 100_000_000
"""Bytes of a header: the most that the safetensors library writes and reads."""

MOST_TENSORS = 20_000
"""Tensors in a file; the largest network of timm and torchvision has 2,683."""

LONGEST_NAME = 256
"""Characters of a tensor's name; the longest of timm and torchvision has 83."""

MOST_PARTS = 32
"""Modules that a tensor's name says are inside one another; timm and torchvision have 12."""

MOST_DIMENSIONS = 16
"""Dimensions of a tensor; no layer's weight has more than five."""

MOST_METADATA = 10_000
"""Entries of the metadata."""

LENGTH_BYTES = 8  # in front of the header, little-endian

ITEM_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of a number of each dtype that the format has."""

_METADATA = "__metadata__"
_FIELDS = ("dtype", "shape", "data_offsets")
_LONGEST_ENTRY = 4096  # characters of one tensor's entry
_MOST_NUMBERS = 1 << 60  # of a tensor; what a file can hold is less by far


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


_DECODER = JSONDecoder()
_ENTRY_DECODER = JSONDecoder(object_pairs_hook=_object)
# `covtool.documents.parse_json` makes a decoder anew each time, which thousands of entries feel.


class HeaderError(ValueError):
    """A file is not a whole safetensors file; the message is a sentence that gives the reason."""


class ExcessError(HeaderError):
    """A file is whole, and has more or longer names than those of any network's weights."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor is, and what it is like.

    Attributes:
        dtype: In the format's word, one of `ITEM_BITS`.
        shape: Sizes along the tensor's dimensions.
        start: Its first byte, counted from the end of the header.
        end: The byte behind its last one.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a whole file.

    Attributes:
        entries: Entry of each tensor, by name, in the order of their bytes.
        metadata: Texts by name.
        start: Byte of the file at which the tensors begin.
        end: Bytes of the whole file.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    start: int
    end: int


def read_header(path: str | Path) -> Header:
    """Read the header of a safetensors file and check it.

    Raises:
        OSError: It cannot be read, or is not a regular file; as `covtool.regular_files.opened`.
        HeaderError: It is damaged.
        ExcessError: It has more than `MOST_TENSORS`, or names longer than `LONGEST_NAME`.
    """
    with opened(path) as file:
        return header_of(file)


def header_of(file: BinaryIO) -> Header:
    """Return the header of an open file, as `read_header`; what is read next are the tensors."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > size - LENGTH_BYTES:
        raise HeaderError(f"Its header should have {length:,} bytes; the file has {size:,}.")
    if length > LARGEST_HEADER:
        raise ExcessError(f"Its header has {length:,} bytes; {LARGEST_HEADER:,} are the most.")
    content = file.read(length)
    if len(content) != length:
        raise HeaderError("It became shorter while it was being read.")
    try:
        entries, metadata = _parsed(content.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise HeaderError(f"Its header is not UTF-8: {problem.reason}.") from problem
    start = LENGTH_BYTES + length
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    _require_no_gaps(entries, size - start)
    return Header(entries, metadata, start, size)


class _Text:
    """JSON text that is read from its beginning on, member by member: linear, and never deep."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def has(self, mark: str) -> bool:
        """Return whether a mark is next; if it is, it is read."""
        while self.text[self.at : self.at + 1] in (" ", "\n", "\t", "\r"):
            self.at += 1
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) * found
        return found

    def take(self, mark: str) -> None:
        if not self.has(mark):
            raise HeaderError(f"Its header is not JSON: {mark!r} is missing at byte {self.at:,}.")

    def string(self) -> str:
        self.take('"')
        try:
            found, self.at = _DECODER.raw_decode(self.text, self.at - 1)
        except JSONDecodeError as problem:
            reason = printable(problem.msg)
            raise HeaderError(f"Its header is not JSON: {reason}, byte {problem.pos:,}.") from None
        if not found.isascii() and not _is_whole(found):
            raise HeaderError("Its header has half a character in it, a lone surrogate.")
        return found

    def entry(self) -> str:
        """Return an object without others in it, as it is written."""
        self.take("{")
        end = self.text.find("}", self.at, self.at + _LONGEST_ENTRY)
        if end < 0:
            raise HeaderError(f"One of its entries does not end, near byte {self.at:,}.")
        start, self.at = self.at - 1, end + 1
        return self.text[start : self.at]

    def members(self, most: int, what: str) -> Iterator[str]:
        """Yield names of an object's members; the caller reads each value before the next name."""
        self.take("{")
        if self.has("}"):
            return
        count = 0
        while True:
            count += 1
            if count > most + 1:  # tensors, and the metadata
                raise ExcessError(f"It has more than {most:,} {what}.")
            name = self.string()
            self.take(":")
            yield name
            if not self.has(","):
                break
        self.take("}")


def _is_whole(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _parsed(text: str) -> tuple[dict[str, Entry], dict[str, str]]:
    require_usual_number(text.count('"data_offsets"'))
    header = _Text(text)
    entries: dict[str, Entry] = {}
    metadata: dict[str, str] | None = None
    for name in header.members(MOST_TENSORS, "tensors"):
        if name == _METADATA:
            if metadata is not None:
                raise HeaderError("Its metadata stand twice.")
            metadata = _metadata(header)
        elif name in entries:
            raise HeaderError(f"The tensor {_shown(name)} stands twice in its header.")
        else:
            require_usual_name(name)
            entries[name] = _entry(name, header.entry())
    if header.text[header.at :].strip(" \n\t\r\0"):
        raise HeaderError(f"Something stands behind its header, from byte {header.at:,} on.")
    require_usual_number(len(entries))
    return entries, metadata or {}


def require_usual_number(count: int) -> None:
    """Refuse more tensors than the weights of networks have.

    Raises:
        ExcessError: There are more than `MOST_TENSORS`.
    """
    if count > MOST_TENSORS:
        raise ExcessError(f"It has more than {MOST_TENSORS:,} tensors.")


def require_usual_name(name: str) -> None:
    """Refuse a name that no layer has.

    Raises:
        ExcessError: It is longer than `LONGEST_NAME`, or has more than `MOST_PARTS`.
    """
    if len(name) > LONGEST_NAME:
        raise ExcessError(
            f"The name of a tensor has {len(name):,} characters: {printable(name, longest=40)}"
        )
    if name.count(".") >= MOST_PARTS:
        raise ExcessError(
            f"The name of a tensor has {name.count('.') + 1} parts: {printable(name, longest=40)}"
        )


def _metadata(header: _Text) -> dict[str, str]:
    found: dict[str, str] = {}
    if header.has("null"):
        return found
    for name in header.members(MOST_METADATA, "entries of metadata"):
        if name in found:
            raise HeaderError(f"The entry {_shown(name)} stands twice in its metadata.")
        found[name] = header.string()
    return found


def _entry(name: str, text: str) -> Entry:
    try:
        values = _ENTRY_DECODER.decode(text)
    except (ValueError, RecursionError) as problem:
        reason = printable(str(problem)) or "It is nested too deeply"
        raise HeaderError(f"The entry of {_shown(name)} is not JSON: {reason}.") from problem
    if values.keys() != set(_FIELDS):
        fields = f"{_listed(values)}, not {_listed(_FIELDS)}"
        raise HeaderError(f"The entry of {_shown(name)} has {fields}.")
    dtype, shape, offsets = (values[field] for field in _FIELDS)
    # A dtype may be any JSON value: a list would not even be hashable.
    if not isinstance(dtype, str) or dtype not in ITEM_BITS:
        raise HeaderError(f"The dtype of {_shown(name)} is {_shown(dtype)}, which does not exist.")
    if not _are_sizes(shape) or prod(side or 1 for side in shape) >= _MOST_NUMBERS:
        raise HeaderError(f"The shape of {_shown(name)} is {_shown(shape)}.")
    if len(shape) > MOST_DIMENSIONS:
        raise ExcessError(f"{_shown(name)} has {len(shape)} dimensions.")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise HeaderError(f"The place of {_shown(name)} is {_shown(offsets)}.")
    bits, (start, end) = prod(shape) * ITEM_BITS[dtype], offsets
    if bits != 8 * (end - start):
        raise HeaderError(
            f"{_shown(name)} should have {bits / 8:,.10g} bytes by its shape and dtype, and "
            f"{end - start:,} by its place."
        )
    return Entry(dtype, tuple(shape), start, end)


def _are_sizes(value: Any) -> bool:
    # `type`, as True is an instance of int.
    return isinstance(value, list) and all(type(side) is int and side >= 0 for side in value)


def _require_no_gaps(entries: Mapping[str, Entry], size: int) -> None:
    at = 0
    for name, entry in entries.items():
        if entry.start != at:
            what = "There are bytes of no tensor" if entry.start > at else "Two tensors share bytes"
            raise HeaderError(f"{what} before {_shown(name)}: it starts at {entry.start:,}.")
        at = entry.end
    if at != size:
        raise HeaderError(f"Its header promises {at:,} bytes of tensors; there are {size:,}.")


def _shown(value: Any) -> str:
    return repr(printable(value if isinstance(value, str) else repr(value), longest=80))


def _listed(fields: Iterable[str]) -> str:
    return printable(", ".join(fields), longest=80) or "nothing"
