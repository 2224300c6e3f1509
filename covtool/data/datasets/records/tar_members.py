"""Where the files in a tar archive are, whoever wrote it; nothing of it is unpacked.

Python's reader of tar files goes wherever headers say, and takes damage behind the first member for
the end. Here sizes are held against the bytes that are there, and an archive must have its end.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from covtool.errors import DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import opened

LONGEST_HEADER = 1 << 20
"""Bytes of a header with what belongs to it, long names and PAX records."""

_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A regular file in a tar archive.

    Attributes:
        name: With its folders.
        offset: Of its first byte in the archive.
        size: In bytes.
    """

    name: str
    offset: int
    size: int


class Passed(NamedTuple):
    """What is no regular file in a tar archive: a link or a device."""

    name: str


def members(archive: Path) -> Iterator[Member | Passed]:
    """The files of a tar archive in their order, which is not compressed; without its folders.

    Raises:
        DataError: It is no such archive, is damaged or cut off, has a file that is stored with
            holes, or one whose name climbs out of the folder that it is in.
    """
    try:
        with opened(archive) as file:
            yield from _members(file)
    except DataError:
        raise
    except Exception as problem:  # of damaged headers Python's reader raises whatever comes up
        raise DataError(f"{archive} cannot be read.", reason=reason_of(problem)) from problem


def bytes_of(file: BinaryIO, member: Member) -> bytes:
    """Return what a member holds."""
    file.seek(member.offset)
    return file.read(member.size)


class _Headers:
    """A file as Python's reader sees it: never more at once than a header may have.

    Args:
        file: The archive.
        size: Its bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.close = file.tell, file.close

    def seek(self, position: int, *how: int) -> int:
        if not 0 <= position <= self._size and not how:
            raise ValueError("A header leads out of the file.")
        return self._file.seek(position, *how)

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= LONGEST_HEADER:
            raise ValueError(f"A header claims to have {count:,} bytes.")
        return self._file.read(count)


def _members(file: BinaryIO) -> Iterator[Member | Passed]:
    total = file.seek(0, 2)
    file.seek(0)
    last = -1
    with tarfile.open(fileobj=_Headers(file, total), mode="r:") as tar:
        while (found := tar.next()) is not None:
            if found.offset <= last:
                raise ValueError("A header leads back.")
            last = found.offset
            if found.isreg():
                yield _regular(found, total)
            elif not found.isdir():
                yield Passed(found.name)
            tar.members = []  # it keeps them all otherwise
        _require_end(file, tar.offset)


def _regular(found: tarfile.TarInfo, total: int) -> Member:
    if ".." in found.name.split("/"):
        raise ValueError(f"The name {printable(found.name)!r} climbs out of its folder.")
    if found.issparse():
        raise ValueError(f"{printable(found.name)} is stored with holes, which are not read.")
    if found.size < 0 or found.offset_data + found.size > total:
        raise ValueError(
            f"{printable(found.name)} should have {found.size:,} bytes: it is cut off."
        )
    return Member(found.name, found.offset_data, found.size)


def _require_end(file: BinaryIO, position: int) -> None:
    """Refuse an archive that stops without saying that it does."""
    file.seek(position)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise ValueError(f"It ends at byte {position:,} without the mark of an end: it is cut off.")
    if block.strip(b"\0"):
        raise ValueError(f"It is damaged at byte {position:,}.")
