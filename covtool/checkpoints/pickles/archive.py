"""The zip format of torch.save: a pickle, and an uncompressed entry for each storage."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from covtool.checkpoints.pickles.machine import Machine
from covtool.checkpoints.pickles.mapped import MappedFile, in_own_order
from covtool.checkpoints.pickles.records import PickleError, StorageRecord
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import Source
from covtool.checkpoints.pickles.tensors import itemsize, storage_record

PICKLE = "data.pkl"
_LOCAL_HEADER = 30  # bytes before an entry's name
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1
_BYTE_ORDERS = (b"little", b"big")


class Archive:
    """The entries of a zip file, found in its table of contents.

    Args:
        path: The file.

    Raises:
        PickleError: It is damaged, or torch.save did not write it.
    """

    def __init__(self, path: Path) -> None:
        self.file = MappedFile(path)
        try:
            with zipfile.ZipFile(path) as archive:
                self.entries = {entry.filename: entry for entry in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError) as problem:
            raise PickleError(f"Its table of contents is damaged: {problem}.") from problem
        pickles = [n for n in self.entries if n == PICKLE or n.endswith(f"/{PICKLE}")]
        if not pickles:
            raise PickleError(f"It has no {PICKLE}.")
        self.root = min(pickles, key=lambda n: (n.count("/"), len(n))).removesuffix(PICKLE)
        self._places: dict[str, tuple[int, int]] = {}

    def place(self, name: str) -> tuple[int, int]:
        """Where an entry's bytes start, and how many they are.

        Raises:
            PickleError: There is no such entry, or it is compressed, or it is outside the file.
        """
        if name not in self._places:
            self._places[name] = self._found(name)
        return self._places[name]

    def _found(self, name: str) -> tuple[int, int]:
        entry = self.entries.get(self.root + name)
        if entry is None:
            raise PickleError(f"It has no entry {name}.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise PickleError(f"Its entry {name} is compressed or encrypted; torch.save does not.")
        with self.file.path.open("rb") as file:
            file.seek(entry.header_offset)
            header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(_LOCAL_SIGNATURE):
            raise PickleError(f"Its entry {name} is not where its table of contents says.")
        beside = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER + beside
        if start + entry.file_size > self.file.size:
            raise PickleError(f"Its entry {name} goes on past the end of the file.")
        return start, entry.file_size

    def read(self, name: str) -> bytes:
        """The bytes of an entry."""
        start, nbytes = self.place(name)
        with self.file.path.open("rb") as file:
            file.seek(start)
            return file.read(nbytes)


class ArchiveStorages:
    """The storages of an archive, each one once."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._known: dict[str, torch.UntypedStorage] = {}
        order = self._order() if f"{archive.root}byteorder" in archive.entries else b"little"
        self._byte_order = order.decode()

    def _order(self) -> bytes:
        order = self.archive.read("byteorder")
        if order not in _BYTE_ORDERS:
            raise PickleError("It does not say which byte of a number comes first.")
        return order

    def untyped(self, record: StorageRecord, dtype: torch.dtype) -> torch.UntypedStorage:
        """The bytes of a storage, as many as its entry has."""
        start, nbytes = self.archive.place(f"data/{record.key}")
        if record.numel * itemsize(record) > nbytes:
            raise PickleError(
                f"A storage should have {record.numel:,} numbers; its entry has {nbytes:,} bytes."
            )
        if record.key not in self._known:
            part = self.archive.file.part(start, nbytes)
            self._known[record.key] = in_own_order(part, dtype, self._byte_order)
        return self._known[record.key]


def read_archive(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The value in a file of the zip format, and the classes and functions that it names.

    Raises:
        CodeError: It names what would run code.
        PickleError: It is malformed.
    """
    archive = Archive(path)
    machine = Machine(Source(archive.read(PICKLE)), storage_record)
    value = machine.run()
    return Settling(ArchiveStorages(archive)).whole(value), tuple(machine.names)
