"""MATLAB's files of version 5, looked through before scipy reads them.

scipy takes what they claim, recurses in C, and unpacks what is compressed however much it becomes.
"""

import struct
import zlib
from collections.abc import Iterator

LONGEST_MAT = 256 << 20
"""Bytes of a file of MATLAB, and of all that is in it when it is unpacked."""

DEEPEST = 16
"""Arrays within one another: structures and cells."""

_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version and order of bytes, behind the text
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_TAG = 8


def require_bounded_mat(content: bytes) -> None:
    """Refuse a file that is none of version 5, or not what it claims.

    Raises:
        ValueError: It is of another version or kind, cut off, nested too deep, or too large when it
            is unpacked.
    """
    order = _ORDERS.get(content[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("It is no file of MATLAB of version 5.")
    left = LONGEST_MAT
    for kind, body in _elements(memoryview(content)[_HEADER:], order):
        if kind == _COMPRESSED:
            unpacked = _unpacked(body, left)
            left -= len(unpacked)
            _look_through(memoryview(unpacked), order, 0)
        elif kind == _MATRIX:
            _look_through_matrix(body, order, 1)


def _unpacked(body: memoryview, at_most: int) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(bytes(body), at_most + 1)
    except zlib.error as problem:
        raise ValueError(f"What is compressed in it is damaged: {problem}.") from problem
    if len(unpacked) > at_most:
        raise ValueError(f"It has more than {LONGEST_MAT:,} bytes when it is unpacked.")
    return unpacked


def _look_through(content: memoryview, order: str, depth: int) -> None:
    for kind, body in _elements(content, order):
        if kind == _MATRIX:
            _look_through_matrix(body, order, depth + 1)


def _look_through_matrix(body: memoryview, order: str, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"Its arrays are nested more than {DEEPEST} levels deep.")
    parts = list(_elements(body, order))
    inside = sum(kind == _MATRIX for kind, _ in parts)
    if inside:
        dimensions = [part for _, part in parts[1:2]]
        for number in (n for part in dimensions for (n,) in _whole_numbers(part, order)):
            if not 0 <= number <= inside:
                raise ValueError(f"An array of {inside:,} values claims to have {number:,}.")
    _look_through(body, order, depth)


def _whole_numbers(part: memoryview, order: str) -> Iterator[tuple[int]]:
    return struct.iter_unpack(f"{order}i", part[: len(part) // 4 * 4])


def _elements(content: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The kind of each element and what it holds, in a row."""
    at = 0
    while at + _TAG <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a small one: its size is in the upper half, what it holds in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begins, after = at + 4, at + _TAG
        else:
            begins = at + _TAG
            after = begins + size + (0 if kind == _COMPRESSED else -size % 8)
        if begins + size > len(content):
            raise ValueError("It is cut off: an element has fewer bytes than it claims.")
        yield kind, content[begins : begins + size]
        at = after
