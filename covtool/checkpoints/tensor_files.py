"""The tensors of a safetensors file, once its header was found right.

They are read, not mapped: a file that is cut short meanwhile would end a process that has it
mapped, silently. Only what is larger than most memories is mapped.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum
from covtool.checkpoints.unreadable import refused, unusable
from covtool.printable import printable
from covtool.regular_files import opened
from covtool.safetensors_header import LENGTH_BYTES, Header, HeaderError, header_of

LARGEST_READ = 4 << 30
"""Bytes of a file that is read into memory; a larger one is mapped."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What is read; any other dtype of the format is not a plain number, and is refused by its name."""

_KINDS = {
    "F8": "8-bit floating point",
    "F6": "6-bit floating point",
    "F4": "4-bit floating point",
    "C64": "complex",
}


def read_metadata(path: Path | str) -> Mapping[str, str]:
    """Return the metadata of a safetensors file whose header is right.

    Raises:
        CheckpointError: It is damaged, or cannot be read.
    """
    try:
        with opened(path) as file:
            return header_of(file).metadata
    except (OSError, HeaderError) as problem:
        raise refused(path, problem) from problem


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors of a checkpoint, in the order of their names, and its metadata.

    Raises:
        CheckpointError: As `tensors_in`.
    """
    try:
        return tensors_in(path)
    except UnusableError as problem:
        raise unusable(path, problem.name, problem.kind) from problem
    except (OSError, HeaderError, SafetensorError) as problem:
        raise refused(path, problem) from problem


def tensors_in(path: Path | str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Return the tensors of any safetensors file, in the order of their names, and its metadata.

    Raises:
        OSError: It cannot be read.
        HeaderError: It is damaged, or changed while it was being read.
        SafetensorError: It is large, and changed while it was being read.
        UnusableError: It has tensors of other numbers than `DTYPES`.
    """
    with opened(path) as file:
        header = header_of(file)
        _require_plain(header)
        # The numbers in a file are little-endian, and the plain reader takes them as they are.
        mapped = header.end > LARGEST_READ or sys.byteorder != "little"
        tensors = _mapped(path, header) if mapped else _read(file, header)
        _require_unchanged(tensors, header)
    return tensors, header.metadata


class UnusableError(HeaderError):
    """A tensor holds other than plain numbers.

    Args:
        name: Name of the tensor.
        kind: Dtype of its numbers.
    """

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"{printable(name)!r} is {printable(kind)}.")
        self.name, self.kind = name, kind


def _require_plain(header: Header) -> None:
    for name, entry in header.entries.items():
        if entry.dtype not in DTYPES:
            # F8_E4M3 and F8_E5M2 differ in nothing that a message needs.
            kind = _KINDS.get(entry.dtype, _KINDS.get(entry.dtype.partition("_")[0]))
            raise UnusableError(name, f"{kind} ({entry.dtype})")


def _require_unchanged(tensors: Mapping[str, Tensor], header: Header) -> None:
    """Compare covtool's own files with their checksum; others have none."""
    expected = header.metadata.get(CHECKSUM_KEY)
    if expected is not None and expected != checksum(tensors):
        raise HeaderError(
            "Its tensors are not those that covtool wrote: it was damaged or changed afterwards."
        )


def _read(file: BinaryIO, header: Header) -> dict[str, Tensor]:
    """Return all tensors, in one piece of memory."""
    content = np.empty(header.end - header.start, np.uint8)
    if file.readinto(content) != len(content) or file.read(1):
        raise HeaderError("It changed its size while it was being read.")
    found = {}
    for name, entry in sorted(header.entries.items()):
        dtype = DTYPES[entry.dtype]
        # `frombuffer` refuses to read nothing.
        if entry.start == entry.end:
            found[name] = torch.empty(entry.shape, dtype=dtype)
            continue
        count = (entry.end - entry.start) // dtype.itemsize
        part = torch.frombuffer(content, dtype=dtype, count=count, offset=entry.start)
        # A header's length may be anything, and with it the place of each tensor.
        aligned = part if entry.start % dtype.itemsize == 0 else part.clone()
        found[name] = aligned.reshape(entry.shape)
    return found


def _mapped(path: Path | str, header: Header) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(header.entries)}


def sort_metadata_(path: Path) -> None:
    """Put the metadata of a file that safetensors has written into the order of their names.

    Safetensors writes them in an order that changes from call to call; the same model should give
    the same bytes.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            return  # another way to write JSON than safetensors' today; right in any order
        file.seek(LENGTH_BYTES)
        file.write(text.ljust(length))
