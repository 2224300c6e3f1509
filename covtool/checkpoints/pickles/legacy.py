"""The format of torch.save before torch 1.6: five pickles, then the bytes of each storage."""

import mmap
from pathlib import Path
from typing import Any

import torch

from covtool.checkpoints.pickles.machine import Machine
from covtool.checkpoints.pickles.mapped import MappedFile, in_own_order
from covtool.checkpoints.pickles.records import PickleError, StorageRecord
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import Source
from covtool.checkpoints.pickles.tensors import itemsize, storage_record

_PROTOCOL = 1001  # of the format, the second pickle
_COUNT = 8  # bytes of a storage's own length, before its numbers


class LegacyStorages:
    """The storages of a file in the old format, each one once.

    Args:
        path: The file.
        widths: Bytes of a number of each storage that the pickle names.
    """

    def __init__(self, path: Path, widths: dict[str, int]) -> None:
        self.file = MappedFile(path)
        self.widths = widths
        self._places: dict[str, tuple[int, int]] = {}
        self._known: dict[str, torch.UntypedStorage] = {}

    def find(self, keys: Any, start: int) -> None:
        """Where each storage is, from their order in the file.

        Raises:
            PickleError: They are not all there.
        """
        if not isinstance(keys, list):
            raise PickleError("It has no list of storages.")
        with self.file.path.open("rb") as file:
            for key in keys:
                if not isinstance(key, str) or key not in self.widths or key in self._places:
                    raise PickleError("It has a storage that no tensor uses, or twice the same.")
                file.seek(start)
                count = file.read(_COUNT)
                nbytes = int.from_bytes(count, "little") * self.widths[key]
                start += _COUNT
                if len(count) < _COUNT or start + nbytes > self.file.size:
                    raise PickleError(
                        f"A storage should have {nbytes:,} bytes from byte {start:,} on; "
                        f"the file has {self.file.size:,}."
                    )
                self._places[key] = start, nbytes
                start += nbytes

    def untyped(self, record: StorageRecord, dtype: torch.dtype) -> torch.UntypedStorage:
        """The bytes of a storage, or of a part of one."""
        if record.key not in self._places:
            raise PickleError("A tensor's storage is not in the file.")
        start, nbytes = self._places[record.key]
        width = itemsize(record)
        if record.numel * width != nbytes:
            raise PickleError(
                f"A storage should have {record.numel:,} numbers; it has {nbytes:,} bytes."
            )
        if record.key not in self._known:
            part = self.file.part(start, nbytes)
            self._known[record.key] = in_own_order(part, dtype, "little")
        whole = self._known[record.key]
        if record.view is None:
            return whole
        first, count = (number * width for number in record.view)
        if first + count > nbytes:
            raise PickleError("A part of a storage is larger than the storage.")
        return whole[first : first + count] if count else torch.UntypedStorage(0)


def read_legacy(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The value in a file of the old format, and the classes and functions that it names.

    Raises:
        CodeError: It names what would run code.
        PickleError: It is malformed.
    """
    widths: dict[str, int] = {}

    def reference(parts: Any) -> Any:
        if isinstance(parts, tuple) and parts[:1] == ("module",) and len(parts) > 1:
            return parts[1]  # a class, with its source code beside it
        record = storage_record(parts)
        widths.setdefault(record.key, itemsize(record))
        return record

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        source = Source(data)
        _magic, protocol, _system = (Machine(source).run() for _ in range(3))
        if protocol != _PROTOCOL:
            raise PickleError(f"Its format is number {str(protocol)[:20]}, not {_PROTOCOL}.")
        machine = Machine(source, reference)
        value = machine.run()
        keys = Machine(source).run()
        storages = LegacyStorages(path, widths)
        storages.find(keys, source.at)
    return Settling(storages).whole(value), tuple(machine.names)
