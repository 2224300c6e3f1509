"""A reader of MATLAB's files of version 5, for numbers, text, cells and structures.

scipy reads them as well, but in C, where it believes what they claim: a damaged file ends the
process.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

LONGEST_MAT = 256 << 20
"""Bytes of a file of MATLAB, and of all that is in it when it is unpacked."""

DEEPEST = 16
"""Levels of structures and cells within one another."""

_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version and order of bytes, behind the text
_HEADER = 128
_TAG = 8
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_COMPLEX = 0x800
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""Stored types of numbers, by the kind of the element."""
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""Types of numbers, by the class of the array. A double array of small whole numbers is stored as
bytes."""
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

Element = tuple[int, memoryview]
"""The kind of an element, and what it holds."""


def variables_of(content: bytes) -> dict[str, Any]:
    """Return the variables of a file, without superfluous axes, as ``scipy.io.loadmat`` has them.

    Args:
        content: Bytes of the file.

    Returns:
        By name: a number or a text; an array of them, in one or more axes; a structured array, one
        value for each structure.

    Raises:
        ValueError: It is of another version, cut off or damaged, nested too deep, too large when it
            is unpacked, or has arrays of other kinds: sparse and complex ones, objects.
    """
    order = _ORDERS.get(content[_HEADER - 4 : _HEADER])
    if order is None:
        raise ValueError("It is not a MATLAB file of version 5.")
    found, left = {}, LONGEST_MAT
    for kind, body in _elements(memoryview(content)[_HEADER:], order):
        if kind == _COMPRESSED:
            unpacked = _unpacked(body, left)
            left -= len(unpacked)
            kind, body = next(_elements(memoryview(unpacked), order), (kind, body))
        if kind == _MATRIX:
            name, value = _array(body, order, 1)
            found[name] = value
    return found


def _unpacked(body: memoryview, at_most: int) -> bytes:
    try:
        # One byte more than allowed, to notice that there is more: a small file may hold gigabytes.
        unpacked = zlib.decompressobj().decompress(bytes(body), at_most + 1)
    except zlib.error as problem:
        raise ValueError(f"What is compressed in it is damaged: {problem}.") from problem
    if len(unpacked) > at_most:
        raise ValueError(f"It has more than {LONGEST_MAT:,} bytes when it is unpacked.")
    return unpacked


def _array(body: memoryview, order: str, depth: int) -> tuple[str, Any]:
    """Return the name of an array and its values."""
    if depth > DEEPEST:
        raise ValueError(f"Its arrays are nested more than {DEEPEST} levels deep.")
    if not len(body):
        return "", np.array([])
    (_, flags), (_, dimensions), (_, name), *parts = _parts(body, order)
    (what,) = struct.unpack_from(f"{order}I", flags)
    shape = tuple(n for (n,) in struct.iter_unpack(f"{order}i", dimensions))
    # Before anything of that shape is allocated; no kind of value has less than a byte.
    if min(shape, default=-1) < 0 or prod(shape) > len(body):
        raise ValueError(f"An array of {len(body):,} bytes claims to have the shape {shape}.")
    values = _values(what, shape, parts, order, depth)
    return bytes(name).decode("latin-1"), _squeezed(values)


def _parts(body: memoryview, order: str) -> list[Element]:
    parts = list(_elements(body, order))
    if len(parts) < 3 or len(parts[0][1]) < 4 or len(parts[1][1]) % 4:
        raise ValueError("An array lacks its class, its shape or its name.")
    return parts


def _values(
    what: int, shape: tuple[int, ...], parts: Sequence[Element], order: str, depth: int
) -> np.ndarray:
    kind = what & 0xFF
    if kind == _CELL:
        return _filled(np.dtype(object), shape, _arrays(parts, order, depth))
    if kind == _STRUCTURE and len(parts) > 1:
        names = _names_of_fields(parts, order)
        inside = _arrays(parts[2:], order, depth)
        rows = [tuple(inside[at : at + len(names)]) for at in range(0, len(inside), len(names))]
        return _filled(np.dtype([(name, object) for name in names]), shape, rows)
    if kind == _TEXT:
        return _text(shape, parts, order)
    if kind not in _CLASSES or what & _COMPLEX or len(parts) != 1 or parts[0][0] not in _NUMBERS:
        raise ValueError(f"It has an array of another kind than numbers and text, {kind}.")
    stored, data = parts[0]
    numbers = np.frombuffer(data, f"{order}{_NUMBERS[stored]}")
    _require_count(len(numbers), shape)
    return numbers.astype(_CLASSES[kind]).reshape(shape, order="F")  # columns first, as MATLAB


def _arrays(parts: Sequence[Element], order: str, depth: int) -> list[Any]:
    if any(kind != _MATRIX for kind, _ in parts):
        raise ValueError("A cell or a structure has something else in it than arrays.")
    return [_array(body, order, depth + 1)[1] for _, body in parts]


def _names_of_fields(parts: Sequence[Element], order: str) -> list[str]:
    (_, length), (_, text) = parts[:2]
    (each,) = struct.unpack_from(f"{order}i", length) if len(length) >= 4 else (0,)
    if each < 1 or not len(text) or len(text) % each:
        raise ValueError("A structure lacks the names of its fields.")
    names = [bytes(text[at : at + each]) for at in range(0, len(text), each)]
    return [name.partition(b"\0")[0].decode("latin-1") for name in names]


def _filled(dtype: np.dtype, shape: tuple[int, ...], values: Sequence[Any]) -> np.ndarray:
    _require_count(len(values), shape)
    filled = np.empty(len(values), dtype)
    for place, value in enumerate(values):
        filled[place] = value  # one at a time: numpy would make axes of arrays in a list
    return filled.reshape(shape, order="F")


def _text(shape: tuple[int, ...], parts: Sequence[Element], order: str) -> np.ndarray:
    """Join each row of characters to a text."""
    if not parts or parts[0][0] not in _ENCODINGS:
        raise ValueError("A text lacks its characters.")
    name = _ENCODINGS[parts[0][0]]
    if name in ("utf-16", "utf-32"):
        name += "-le" if order == "<" else "-be"
    text = bytes(parts[0][1]).decode(name)
    _require_count(len(text), shape)
    if not text:
        return np.array([], dtype="U1")
    rows = np.array(list(text)).reshape(shape, order="F").reshape(-1, shape[-1])
    return np.array(["".join(row) for row in rows]).reshape(shape[:-1])


def _squeezed(values: np.ndarray) -> Any:
    if not values.size:
        return np.array([], dtype=values.dtype)
    # MATLAB has no scalars or lists: a number is a matrix of 1 x 1.
    values = np.squeeze(values)
    return values.item() if values.ndim == 0 and values.dtype.names is None else values


def _require_count(count: int, shape: tuple[int, ...]) -> None:
    if count != prod(shape):
        raise ValueError(f"An array of {count:,} values claims to have the shape {shape}.")


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """Yield the elements of a file or of an array, in a row."""
    at = 0
    while at + _TAG <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a small one: its size is in the upper half, what it holds in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            begins, after = at + 4, at + _TAG
        else:
            begins = at + _TAG
            # Elements begin at multiples of 8 bytes, but compressed ones do not.
            after = begins + size + (0 if kind == _COMPRESSED else -size % 8)
        if begins + size > len(content):
            raise ValueError("It is cut off: an element has fewer bytes than it claims.")
        yield kind, content[begins : begins + size]
        at = after
