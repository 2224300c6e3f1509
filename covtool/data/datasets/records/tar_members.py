"""Places of the files in a tar archive, which need not be trusted; nothing is unpacked.

Python's reader of tar files follows its headers to any position, and takes damage behind the first
member for the end. Here sizes are compared with the size of the file, and the archive must have its
mark of the end.
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
        name: Name with its folders.
        offset: Position of its first byte in the archive.
        size: Size in bytes.
    """

    name: str
    offset: int
    size: int


class Passed(NamedTuple):
    """A link or a device in a tar archive."""

    name: str


def members(archive: Path) -> Iterator[Member | Passed]:
    """Yield the files of a tar archive in their order, without its folders.

    Raises:
        DataError: It is compressed, no archive, damaged or cut off; it has a file that is stored
            with holes, or one whose name climbs out of its folder.
    """
    try:
        with opened(archive) as file:
            yield from _members(file)
    except DataError:
        raise
    except Exception as problem:  # Python's reader raises errors of many types on damage
        raise DataError(f"{archive} cannot be read.", reason=reason_of(problem)) from problem


def bytes_of(file: BinaryIO, member: Member) -> bytes:
    """Return the bytes of a member."""
    file.seek(member.offset)
    return file.read(member.size)


class _Headers:
    """A file for Python's reader, which reads at most a header at a time.

    Args:
        file: The archive.
        size: Size of the archive in bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.close = file.tell, file.close

    def seek(self, position: int, *how: int) -> int:
        # tarfile seeks to the sum of what headers claim, and beyond the end a read gives nothing.
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
            if found.offset <= last:  # a size of less than 0 would make the reader go in a circle
                raise ValueError("A header leads back.")
            last = found.offset
            if found.isreg():
                yield _regular(found, total)
            elif not found.isdir():
                yield Passed(found.name)
            tar.members = []  # else it keeps an object for each of a million files
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
    """Refuse an archive without the mark of its end, a block of zeros."""
    file.seek(position)
    block = file.read(_BLOCK)
    if len(block) < _BLOCK:
        raise ValueError(f"It ends at byte {position:,} without the mark of an end: it is cut off.")
    if block.strip(b"\0"):
        raise ValueError(f"It is damaged at byte {position:,}.")
