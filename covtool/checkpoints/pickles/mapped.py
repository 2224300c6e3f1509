"""The bytes of a file as torch's storages; they stay on the disk until they are used."""

import sys
from functools import cached_property
from mmap import ACCESS_COPY, mmap
from pathlib import Path

import torch

from covtool.checkpoints.pickles.entries import Entry, entries
from covtool.checkpoints.pickles.records import PickleError
from covtool.regular_files import opened

_ALIGNMENT = 16  # bytes; what starts elsewhere is copied


class MappedFile:
    """A file whose parts become storages; changing those leaves the file as it is.

    Args:
        path: The file.

    Attributes:
        data: Its bytes.
        size: Number of bytes.

    Raises:
        OSError: It cannot be opened, or is not a regular file.
        PickleError: It is empty.
    """

    def __init__(self, path: Path) -> None:
        with opened(path) as file:
            try:
                # Copy on write: an optimizer may change loaded weights, and the file must not
                # change with them.
                self.data = mmap(file.fileno(), 0, access=ACCESS_COPY)
            except ValueError as problem:
                raise PickleError("It is empty.") from problem
        self.size = len(self.data)

    @cached_property
    def _whole(self) -> torch.UntypedStorage:
        return torch.frombuffer(self.data, dtype=torch.uint8).untyped_storage()

    def entries(self) -> dict[str, Entry]:
        """Return what is in it, as a zip file, by name.

        Raises:
            PickleError: It is none, or damaged.
        """
        return entries(self.data)

    def part(self, start: int, nbytes: int) -> torch.UntypedStorage:
        """Return some bytes of the file.

        Raises:
            PickleError: The file ends before.
        """
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise PickleError(
                f"A tensor should have {nbytes:,} bytes from byte {start:,} on; "
                f"the file has {self.size:,}."
            )
        if nbytes == 0:
            return torch.UntypedStorage(0)
        part = self._whole[start : start + nbytes]
        # Kernels with aligned loads would crash or be slow on tensors at odd addresses.
        return part.clone() if start % _ALIGNMENT else part


def in_own_order(
    storage: torch.UntypedStorage, dtype: torch.dtype, order: str
) -> torch.UntypedStorage:
    """Return the storage with its numbers' bytes in the order of this machine."""
    if order == sys.byteorder:
        return storage
    # A copy: the bytes may be a part of the map, which other entries may be read from again.
    turned = storage.clone()
    turned.byteswap(dtype)
    return turned
