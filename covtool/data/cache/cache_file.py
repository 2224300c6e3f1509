"""A cache in one file, mapped into memory by every process that uses it.

It is a safetensors file: ``offsets``, ``sizes`` and ``spaces`` of the images and their ``pixels``,
in one row of bytes. The metadata say which images these are and how they were decoded, and hold a
checksum of everything behind the header.
"""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from covtool.data.cache.filling import fill
from covtool.data.cache.planning import CachePlan
from covtool.data.cache.stored import StoredImages, StoredIndex
from covtool.data.datasets.checking import CheckedSamples
from covtool.regular_files import opened, require_regular

VERSION = "1"
DTYPES = {"offsets": "I64", "sizes": "I32", "spaces": "I32", "pixels": "U8"}
ITEM_BYTES = {"I64": 8, "I32": 4, "U8": 1}
NOT_YET = "0" * 8  # as long as a checksum: the header is written again when that is known
CHUNK = 2**26  # bytes read at a time


@dataclass(frozen=True, slots=True)
class CacheIdentity:
    """Image files and settings that a cache file must have been made with to be used.

    Attributes:
        files: Fingerprint of the image files.
        settings: Decoding, and the form that was kept, as JSON.
    """

    files: str
    settings: str

    def metadata(self, checksum: str = NOT_YET) -> dict[str, str]:
        """Return the metadata of a file's header."""
        return {
            "covtool_cache": VERSION,
            "files": self.files,
            "settings": self.settings,
            "checksum": checksum,
        }


class UnusableCacheError(Exception):
    """A cache file has to be made again; the text says why."""


class MappedImages(StoredImages):
    """The images of a cache file; another process maps the file rather than copying them."""

    def __init__(self, path: Path, index: StoredIndex, pixels: Tensor, channels: int) -> None:
        super().__init__(index, pixels, channels)
        self.path = path

    def only(self, rows: np.ndarray) -> "MappedImages":
        return MappedImages(self.path, self.index.only(rows), self.pixels, self.channels)

    def __reduce__(self) -> tuple[object, ...]:
        # The path in place of the pixels, which would be copied into every process.
        return _map_again, (self.path, self.index, self.channels)


def map_cache_file(path: Path, identity: CacheIdentity, channels: int) -> MappedImages:
    """Map a cache file, once its checksum has been found right.

    Raises:
        UnusableCacheError: There is none, or it is damaged, of another version or of other images.
    """
    try:
        require_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _require_same(metadata, identity)
            tensors = {name: file.get_tensor(name) for name in DTYPES}
        if metadata["checksum"] != _checksum(path):
            raise UnusableCacheError("its checksum is wrong")
        index = StoredIndex(
            # Copies, as the file is mapped: a few bytes an image, read for every batch.
            *(tensors[name].numpy().copy() for name in ("offsets", "sizes", "spaces"))
        )
    except UnusableCacheError:
        raise
    except Exception as problem:  # safetensors raises many types on damaged headers
        raise UnusableCacheError("it cannot be read") from problem
    if not _is_laid_out(index, tensors["pixels"], channels):
        raise UnusableCacheError("its images are not where it says")
    return MappedImages(path, index, tensors["pixels"], channels)


def _is_laid_out(index: StoredIndex, pixels: Tensor, channels: int) -> bool:
    """Return whether the images lie one after the other in all of the pixels.

    The header is not part of the checksum, and what it says is read without a further look.
    """
    offsets, sizes, spaces = index.arrays
    pairs = (len(offsets), 2)
    dtypes = (offsets.dtype, sizes.dtype, spaces.dtype)
    if dtypes != (np.int64, np.int32, np.int32) or pixels.dtype is not torch.uint8:
        return False
    if offsets.ndim != 1 or pixels.ndim != 1 or sizes.shape != pairs or spaces.shape != pairs:
        return False
    readable, unread = index.readable, sizes[:, 0] == 0
    if sizes.min(initial=0) < 0 or sizes[unread].any():
        return False
    if (spaces[readable] < 1).any() or (sizes[readable] < 1).any():
        return False
    following = np.append(offsets, len(pixels))
    space = np.diff(following)
    # In int64: a side is an int32, and the area of a large image would not fit into one.
    needed = sizes.astype(np.int64).prod(1) * channels
    return following[0] == 0 and bool((space >= 0).all() and (space == needed)[readable].all())


def write_cache_file(path: Path, identity: CacheIdentity, plan: CachePlan) -> CheckedSamples:
    """Decode the images of a plan into a file that exists.

    The pixels are written where they belong, by several threads, rather than through a mapping:
    a full disk is then an error, not the end of the process.

    Returns:
        What was seen of the images.

    Raises:
        OSError: The file cannot be written.
        DataError: See `fill`.
    """
    index = plan.index
    header = _header(plan, identity.metadata())
    at_pixels = len(header) + sum(array.nbytes for array in index.arrays)
    with path.open("r+b", buffering=0) as file:
        write = _writer(file)
        file.truncate(at_pixels + plan.num_bytes)
        seen = fill(plan, lambda offset, pixels: write(pixels, at_pixels + offset))
        at = write(np.frombuffer(header, np.uint8), 0)
        for array in index.arrays:
            at = write(array, at)
        header = _header(plan, identity.metadata(_checksum(path)))
        write(np.frombuffer(header, np.uint8), 0)
    return seen


def _require_same(metadata: dict[str, str], identity: CacheIdentity) -> None:
    expected = identity.metadata()
    for name, reason in (
        ("covtool_cache", "it is of another version"),
        ("files", "the image files have changed"),
        ("settings", "images are decoded in another way now"),
        ("checksum", "it has no checksum"),
    ):
        if name not in metadata or (name != "checksum" and metadata[name] != expected[name]):
            raise UnusableCacheError(reason)


def _header(plan: CachePlan, metadata: dict[str, str]) -> bytes:
    """Return length and JSON of a safetensors file; as long for every checksum."""
    shapes = [*(array.shape for array in plan.index.arrays), (plan.num_bytes,)]
    entries, at = {}, 0
    for (name, dtype), shape in zip(DTYPES.items(), shapes, strict=True):
        end = at + int(np.prod(shape, dtype=np.int64)) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps({"__metadata__": metadata, **entries}).encode()
    text += b" " * (-len(text) % 8)  # safetensors wants the tensors aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text


def _writer(file: FileIO) -> Callable[[np.ndarray, int], int]:
    """Return a function of arrays and offsets that threads may call at once."""
    alone = Lock()

    def write_at(data: memoryview, offset: int) -> int:
        with alone:
            file.seek(offset)
            return file.write(data)

    def pwrite(data: memoryview, offset: int) -> int:
        return os.pwrite(file.fileno(), data, offset)

    one = pwrite if hasattr(os, "pwrite") else write_at  # Windows writes at one place at a time

    def write(array: np.ndarray, offset: int) -> int:
        """Write all of an array's bytes, of which the system may take a part; return their end."""
        data = memoryview(array.reshape(-1).view(np.uint8))
        while data:
            written = one(data, offset)
            data, offset = data[written:], offset + written
        return offset

    return write


def _checksum(path: Path) -> str:
    """Return the CRC-32 of everything behind the header, as eight hexadecimal digits."""
    value = 0
    with opened(path) as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return f"{value:08x}"


def _map_again(path: Path, index: StoredIndex, channels: int) -> MappedImages:
    """Map a cache file in another process, as unpickling does; its checksum was found right."""
    with safe_open(path, framework="pt") as file:
        return MappedImages(path, index, file.get_tensor("pixels"), channels)
