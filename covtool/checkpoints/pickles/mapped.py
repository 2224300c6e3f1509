"""The bytes of a file as torch's storages; they stay on the disk until they are used."""

import sys
from functools import cached_property
from pathlib import Path

import torch

from covtool.checkpoints.pickles.records import PickleError

_ALIGNMENT = 16  # bytes; what starts elsewhere is copied


class MappedFile:
    """A file whose parts become storages; changing those leaves the file as it is.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    @cached_property
    def _whole(self) -> torch.UntypedStorage:
        return torch.UntypedStorage.from_file(str(self.path), False, self.size)

    def part(self, start: int, nbytes: int) -> torch.UntypedStorage:
        """Some bytes of the file.

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
        return part.clone() if start % _ALIGNMENT else part


def in_own_order(
    storage: torch.UntypedStorage, dtype: torch.dtype, order: str
) -> torch.UntypedStorage:
    """The storage with its numbers' bytes in the order of this machine."""
    if order == sys.byteorder:
        return storage
    turned = storage.clone()
    turned.byteswap(dtype)
    return turned
