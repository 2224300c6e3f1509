"""The format of torch.save before torch 1.6: five pickles, then the bytes of each storage."""

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from covtool.checkpoints.pickles.machine import Machine
from covtool.checkpoints.pickles.mapped import in_own_order
from covtool.checkpoints.pickles.records import PickleError, StorageRecord
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import Source
from covtool.checkpoints.pickles.tensors import DTYPES, itemsize, shown, storage_record
from covtool.regular_files import opened

_PROTOCOL = 1001  # of the format, the second pickle
_COUNT = 8  # bytes of a storage's own length, before its numbers


class LegacyStorages:
    """The storages of a file in the old format, each one once.

    Args:
        path: The file.
        named: Storages that the pickle names, by their keys.
    """

    def __init__(self, path: Path, named: Mapping[str, StorageRecord]) -> None:
        self.path = path
        self.named = named
        self._known: dict[str, torch.UntypedStorage] = {}

    def read(self, keys: Any, start: int) -> None:
        """Read them in the order in which the file has them.

        Raises:
            PickleError: They are not all there.
        """
        if not isinstance(keys, list):
            raise PickleError("It has no list of storages.")
        with opened(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            for key in keys:
                record = self.named.get(key) if isinstance(key, str) else None
                # Otherwise a file could have bytes read that no tensor uses, or the same ones
                # twice.
                if record is None or key in self._known:
                    raise PickleError("It has a storage that no tensor uses, or twice the same.")
                self._known[key] = _read_storage(file, record, size)

    def untyped(self, record: StorageRecord, dtype: torch.dtype) -> torch.UntypedStorage:
        """Return the bytes of a storage, or of a part of one."""
        whole = self._known.get(record.key)
        if whole is None:
            raise PickleError("A tensor's storage is not in the file.")
        width = itemsize(record)
        if record.numel * width != whole.nbytes():
            raise PickleError(
                f"A storage should have {record.numel:,} numbers; it has {whole.nbytes():,} bytes."
            )
        if record.view is None:
            return whole
        first, count = (number * width for number in record.view)
        if first + count > whole.nbytes():
            raise PickleError("A part of a storage is larger than the storage.")
        return whole[first : first + count] if count else torch.UntypedStorage(0)


def _read_storage(file: BinaryIO, record: StorageRecord, size: int) -> torch.UntypedStorage:
    """Return a storage's count of numbers, and the numbers, in a file of `size` bytes."""
    count = file.read(_COUNT)
    nbytes = int.from_bytes(count, "little") * itemsize(record)
    if len(count) < _COUNT or file.tell() + nbytes > size:
        raise PickleError(
            f"A storage should have {nbytes:,} bytes from byte {file.tell():,} on; "
            f"the file has {size:,}."
        )
    if nbytes == 0:
        return torch.UntypedStorage(0)
    # Compared with the file's size before: no memory is asked for that the file cannot fill.
    numbers = np.empty(nbytes, np.uint8)
    if file.readinto(memoryview(numbers)) != nbytes:
        raise PickleError("It became shorter while it was read.")
    storage = torch.from_numpy(numbers).untyped_storage()
    return in_own_order(storage, DTYPES.get(f"torch.{record.dtype}", torch.uint8), "little")


def read_legacy(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the value in a file of the old format, and the classes and functions that it names.

    Raises:
        CodeError: It names what would run code.
        PickleError: It is malformed.
    """
    named: dict[str, StorageRecord] = {}

    def reference(parts: Any) -> Any:
        if isinstance(parts, tuple) and parts[:1] == ("module",) and len(parts) > 1:
            # torch saved the source of a pickled module's class to warn of changes; it is not run.
            return parts[1]  # a class, with its source code beside it
        record = storage_record(parts)
        named.setdefault(record.key, record)
        return record

    with opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        source = Source(data)
        # The magic number was looked at already, to tell the format.
        _magic, protocol, _system = (Machine(source).run() for _ in range(3))
        if protocol != _PROTOCOL:
            raise PickleError(f"Its format is {shown(protocol)}, not number {_PROTOCOL}.")
        machine = Machine(source, reference)
        value = machine.run()
        keys = Machine(source).run()
        storages = LegacyStorages(path, named)
        storages.read(keys, source.at)
        # The bytes of the pickles; the storages behind them have limits of their own.
        pickled = source.at
    return Settling(storages, pickled).whole(value), tuple(machine.names)
