"""The zip format of torch.save: a pickle, and an uncompressed entry for each storage."""

from pathlib import Path
from typing import Any

import torch

from covtool.checkpoints.pickles.entries import Entry, bytes_of, has_checksums
from covtool.checkpoints.pickles.entries import require_intact as require_entry_intact
from covtool.checkpoints.pickles.machine import Machine
from covtool.checkpoints.pickles.mapped import MappedFile, in_own_order
from covtool.checkpoints.pickles.records import PickleError, StorageRecord
from covtool.checkpoints.pickles.settling import Settling
from covtool.checkpoints.pickles.source import Source
from covtool.checkpoints.pickles.tensors import itemsize, storage_record

PICKLE = "data.pkl"
_BYTE_ORDERS = (b"little", b"big")


class Archive:
    """The entries of a zip file, found in its table of contents.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
        PickleError: It is damaged, or torch.save did not write it.
    """

    def __init__(self, path: Path) -> None:
        self.file = MappedFile(path)
        self.entries = self.file.entries()
        self.has_checksums = has_checksums(self.entries)
        pickles = [n for n in self.entries if n == PICKLE or n.endswith(f"/{PICKLE}")]
        if not pickles:
            raise PickleError(f"It has no {PICKLE}.")
        # torch names the top folder after the file, so it may be anything; the shallowest is the
        # file's.
        self.root = min(pickles, key=lambda n: (n.count("/"), len(n))).removesuffix(PICKLE)

    def place(self, name: str) -> tuple[int, int]:
        """Return the start and the number of an entry's bytes, found to be those that were written.

        Raises:
            PickleError: There is no such entry, or it is compressed, has changed since its checksum
                was written, or is outside the file.
        """
        entry = self.entries.get(self.root + name)
        if entry is None:
            raise PickleError(f"It has no entry {name}.")
        self._require_intact(name, entry)
        return bytes_of(self.file.data, name, entry)

    def require_intact(self) -> None:
        """Compare all entries with their checksums.

        Raises:
            PickleError: One has changed, or as `place`.
        """
        for name, entry in self.entries.items():
            self._require_intact(name, entry)

    def _require_intact(self, name: str, entry: Entry) -> None:
        if self.has_checksums:
            require_entry_intact(self.file.data, name, entry)

    def source(self, name: str) -> Source:
        """Return the bytes of an entry, to be read from front to back."""
        start, nbytes = self.place(name)
        return Source(self.file.data, start, start + nbytes)


class ArchiveStorages:
    """The storages of an archive, each one once."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._known: dict[str, tuple[torch.UntypedStorage, torch.dtype]] = {}
        # Older versions of torch wrote no such entry: their files are taken as little-endian.
        order = self._order() if f"{archive.root}byteorder" in archive.entries else b"little"
        self._byte_order = order.decode()

    def _order(self) -> bytes:
        # One byte more than the longest word: a longer entry is then none of them.
        source = self.archive.source("byteorder")
        order = source.take(min(source.left, len(max(_BYTE_ORDERS, key=len)) + 1))
        if order not in _BYTE_ORDERS:
            raise PickleError("It does not say which byte of a number comes first.")
        return order

    def untyped(self, record: StorageRecord, dtype: torch.dtype) -> torch.UntypedStorage:
        """Return the bytes of a storage, as many as its entry has."""
        # Only the format before torch 1.6 had views of storages.
        if record.view is not None:
            raise PickleError(
                "A tensor is in a part of a storage, which this format does not have."
            )
        if record.key not in self._known:
            part = self.archive.file.part(*self.archive.place(f"data/{record.key}"))
            self._known[record.key] = in_own_order(part, dtype, self._byte_order), dtype
        storage, read_as = self._known[record.key]
        # Swapping needs the width of a number: one storage cannot be swapped for two widths.
        if self._byte_order == "big" and read_as != dtype:
            raise PickleError("A storage has numbers of two types, and the byte order of another.")
        # A storage that is shorter than it claims would let tensors read past its end.
        if record.numel * itemsize(record) > storage.nbytes():
            raise PickleError(
                f"A storage should have {record.numel:,} numbers; "
                f"its entry has {storage.nbytes():,} bytes."
            )
        return storage


def require_whole(path: Path) -> None:
    """Compare everything in a file with its checksums.

    Raises:
        OSError: It cannot be opened.
        PickleError: Something is missing or damaged.
    """
    Archive(path).require_intact()


def read_archive(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the value in a file of the zip format, and the classes and functions that it names.

    Raises:
        CodeError: It names what would run code.
        OSError: It cannot be opened.
        PickleError: It is malformed.
    """
    archive = Archive(path)
    source = archive.source(PICKLE)
    machine = Machine(source, storage_record)
    storages, pickled = ArchiveStorages(archive), source.left
    value = machine.run()
    return Settling(storages, pickled).whole(value), tuple(machine.names)
