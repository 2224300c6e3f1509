"""NumPy's numbers and arrays, made from their bytes."""

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from covtool.checkpoints.pickles.python_values import raw_bytes
from covtool.checkpoints.pickles.records import GlobalName, Placeholder
from covtool.checkpoints.pickles.settle import Settle

_CODE = re.compile(
    r"[?bhilqpBHILQPefdgFDG]|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6}|[mM]8", re.ASCII
)
_UNIT = re.compile(r"generic|Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as")
_LONGEST_UNIT = len("generic")
_UNIT_PLACE = 8  # in the state of a dtype
_MOST_DIMENSIONS = 32
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF


def dtype_of(record: Any) -> np.dtype | None:
    """Return the type of plain numbers, texts or times that a pickled `numpy.dtype` describes.

    Types of objects and records are None.
    """
    if not isinstance(record, Placeholder) or record.name != "numpy.dtype" or not record.arguments:
        return None
    code, state = record.arguments[0], record.state
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
    if order not in ("<", ">", "=", "|"):
        return None
    unit = _unit(state) if code[0] in "mM" else ""
    if unit is None or (code[0] == "M" and not unit):  # a moment whose unit is unknown
        return None
    return np.dtype(f"{code}{unit}").newbyteorder(order)


def _unit(state: Any) -> str | None:
    """Return what a time counts, as ``[25s]``; "" where it is generic, None where it is unknown."""
    if not isinstance(state, tuple) or len(state) <= _UNIT_PLACE:
        return ""
    try:
        name, count = state[_UNIT_PLACE][1][:2]
    except (LookupError, TypeError, ValueError):
        return None
    if isinstance(name, Placeholder):  # bytes, before protocol 3
        name = name.arguments[0] if name.arguments else None
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if not isinstance(text, str) or len(text) > _LONGEST_UNIT:
        return None
    if not _UNIT.fullmatch(text) or not isinstance(count, int) or not 0 < count < (1 << 31):
        return None
    return "" if text == "generic" else f"[{count}{text}]"


def _scalar(record: Placeholder, settle: Settle) -> Any:
    if len(record.arguments) != 2:
        return NotImplemented
    dtype, raw = dtype_of(record.arguments[0]), raw_bytes(settle(record.arguments[1]), settle)
    if dtype is None or raw is None or len(raw) != dtype.itemsize:
        return NotImplemented
    if not _is_text(raw, dtype):
        return NotImplemented
    # `frombuffer` refuses a type of no bytes, as that of an empty text.
    return np.frombuffer(raw, dtype, 1)[0] if raw else dtype.type()


def _array(record: Placeholder, settle: Settle) -> Any:
    """Rebuild what `numpy._core.multiarray._reconstruct` makes, whose state holds everything."""
    state = record.state
    kind = record.arguments[0] if record.arguments else None
    of_numpy = isinstance(kind, GlobalName) and kind.module.split(".")[0] == "numpy"
    if not of_numpy or not isinstance(state, tuple) or len(state) != 5:
        return NotImplemented
    _, shape, dtype, fortran, raw = state
    raw = raw_bytes(settle(raw), settle)
    return _filled(raw, dtype_of(dtype), settle(shape), "F" if fortran else "C")


def _from_buffer(record: Placeholder, settle: Settle) -> Any:
    """Rebuild `numpy._core.numeric._frombuffer(buffer, dtype, shape, order)`, of protocol 5."""
    if len(record.arguments) < 4:
        return NotImplemented
    raw, dtype, shape, order = record.arguments[:4]
    raw = raw_bytes(settle(raw), settle)
    return _filled(raw, dtype_of(dtype), settle(shape), "F" if order == "F" else "C")


def _filled(raw: bytes | None, dtype: np.dtype | None, shape: Any, order: str) -> Any:
    if raw is None or dtype is None or not dtype.itemsize or not _is_shape(shape):
        return NotImplemented
    # Exactly as many bytes as the shape asks for, else NumPy reads past the buffer or guesses.
    if math.prod(shape) * dtype.itemsize != len(raw) or not _is_text(raw, dtype):
        return NotImplemented
    try:
        # Copied, as an array over bytes is read-only.
        return np.frombuffer(raw, dtype).reshape(shape, order=order).copy(order)
    except ValueError:  # no numbers, in dimensions that NumPy does not count up to
        return NotImplemented


def _is_text(raw: bytes, dtype: np.dtype) -> bool:
    """Return whether an array's texts, if that is what it holds, are of whole characters."""
    # A code point that is not a character makes NumPy raise later, wherever the text is first used.
    if dtype.kind != "U":
        return True
    codes = np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    surrogates = (codes >= _FIRST_SURROGATE) & (codes <= _LAST_SURROGATE)
    return not (surrogates | (codes > sys.maxunicode)).any()


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, tuple)
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(size) is int and 0 <= size < (1 << 62) for size in shape)
    )


# NumPy 2 renamed `core` to `_core`; files of either are read by both.
NUMBERS: dict[str, Callable[[Placeholder, Settle], Any]] = {
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
