"""The entries of a zip file, by its table of contents; nothing in it is unpacked."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from mmap import mmap

from covtool.checkpoints.pickles.records import PickleError

MOST_ENTRIES = 300_000
"""Entries of a zip file; a checkpoint has one for each tensor, and a few more."""

_END = struct.Struct("<4s4H2LH")  # ..., entries, bytes of the table, its place, of the comment
_END_SIGNATURE = b"PK\x05\x06"
_LONGEST_COMMENT = 0xFFFF
_POINTER_64 = struct.Struct("<4sLQL")  # ..., place of the end record, ...
_POINTER_64_SIGNATURE = b"PK\x06\x07"
_END_64 = struct.Struct("<4sQ2H2L4Q")  # ..., entries, bytes of the table, its place
_END_64_SIGNATURE = b"PK\x06\x06"
# ..., flags, method, ..., checksum, packed, unpacked, of name, extra, comment, ..., place
_ROW = struct.Struct("<4s4B4H3L5H2L")
_ROW_SIGNATURE = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s5H3L2H")  # ..., of name, of extra
_LOCAL_SIGNATURE = b"PK\x03\x04"
_EXTRA = struct.Struct("<2H")  # kind, bytes
_EXTRA_64 = 1
_IN_EXTRA_64 = 0xFFFFFFFF  # instead of a number that is there
_WIDTH_64 = 8
_ENCRYPTED, _STORED = 1, 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a zip file.

    Attributes:
        place: Position of its own header.
        nbytes: Size in bytes.
        checksum: Their CRC-32; 0 in all entries where the file was written without checksums.
        is_stored: Whether the bytes are there as they are, neither compressed nor encrypted.
        limit: Position where something else follows.
    """

    place: int
    nbytes: int
    checksum: int
    is_stored: bool
    limit: int


def entries(data: mmap) -> dict[str, Entry]:
    """Return the entries of a zip file, by name, in the order of its table of contents.

    Raises:
        PickleError: The table is damaged, has more than `MOST_ENTRIES` entries, or a name twice;
            or entries overlap.
    """
    # The table of contents decides, as in torch: headers in front of the bytes may contradict it.
    count, size, start = _end(data)
    if count > MOST_ENTRIES:
        raise PickleError(f"It has {count:,} entries; at most {MOST_ENTRIES:,} are read.")
    # Checked before a row is read: a count of 2^64 must not size a loop or a list.
    if start + size > len(data) or count * _ROW.size > size:
        raise _damaged("its place is outside the file")
    rows = list(_rows(data, start, size))
    if len(rows) != count:
        raise _damaged(f"it has {len(rows):,} entries, not {count:,}")
    limits = _limits([entry.place for _, entry in rows], start)
    found = {
        name: Entry(e.place, e.nbytes, e.checksum, e.is_stored, limits[e.place]) for name, e in rows
    }
    # Two entries of one name: other readers take the last, so that two tools may see two files.
    if len(found) < count:
        raise _damaged("a name is twice in it")
    return found


def bytes_of(data: mmap, name: str, entry: Entry) -> tuple[int, int]:
    """Return where an entry's bytes start, and how many they are.

    Raises:
        PickleError: They are compressed, or not where the table of contents says.
    """
    if not entry.is_stored:
        raise PickleError(f"Its entry {name} is compressed or encrypted; torch.save does not.")
    header = data[entry.place : entry.place + _LOCAL.size]
    if len(header) < _LOCAL.size or not header.startswith(_LOCAL_SIGNATURE):
        raise PickleError(f"Its entry {name} is not where its table of contents says.")
    # The header in front repeats the name, and torch pads it there to align the numbers.
    start = entry.place + _LOCAL.size + sum(_LOCAL.unpack(header)[-2:])
    if start + entry.nbytes > entry.limit:
        raise PickleError(
            f"Its entry {name} should have {entry.nbytes:,} bytes; there is room for "
            f"{max(entry.limit - start, 0):,}."
        )
    return start, entry.nbytes


def require_intact(data: mmap, name: str, entry: Entry) -> None:
    """Compare an entry's bytes with its checksum.

    Raises:
        PickleError: They differ, or as `bytes_of`.
    """
    start, nbytes = bytes_of(data, name, entry)
    # A view, as a slice of the map would be a copy; closed at once, or the map could not be.
    with memoryview(data) as whole, whole[start : start + nbytes] as part:
        checksum = zlib.crc32(part)
    if checksum != entry.checksum:
        raise PickleError(f"Its entry {name} is damaged: it does not fit its checksum.")


def has_checksums(found: Mapping[str, Entry]) -> bool:
    """Return whether a file was written with checksums; torch.save may leave them out."""
    return any(entry.checksum for entry in found.values())


def _end(data: mmap) -> tuple[int, int, int]:
    """Return number of entries, bytes and place of the table of contents."""
    # The end record is searched from behind, as a comment of any length may follow it.
    first = max(len(data) - _END.size - _LONGEST_COMMENT, 0)
    place = data.rfind(_END_SIGNATURE, first)
    if place < 0 or place + _END.size > len(data):
        raise _damaged("its end is missing")
    *_, count, size, start, comment = _END.unpack(data[place : place + _END.size])
    if place + _END.size + comment > len(data):
        raise _damaged("its end is cut short")
    return _end_64(data, place) or (count, size, start)


def _end_64(data: mmap, before: int) -> tuple[int, int, int] | None:
    """Return the same of files with more than 4 GiB or 65,535 entries, which say it elsewhere."""
    pointer = data[max(before - _POINTER_64.size, 0) : before]
    if len(pointer) < _POINTER_64.size or not pointer.startswith(_POINTER_64_SIGNATURE):
        return None
    _, _, place, _ = _POINTER_64.unpack(pointer)
    end = data[place : place + _END_64.size]
    if len(end) < _END_64.size or not end.startswith(_END_64_SIGNATURE):
        raise _damaged("its end is not where it should be")
    *_, count, size, start = _END_64.unpack(end)
    return count, size, start


def _rows(data: mmap, start: int, size: int) -> Iterator[tuple[str, Entry]]:
    table, at = data[start : start + size], 0
    while at < size:
        if at + _ROW.size > size or not table.startswith(_ROW_SIGNATURE, at):
            raise _damaged("a row of it is none")
        row = _ROW.unpack_from(table, at)
        (flags, method), (checksum, packed, unpacked) = row[5:7], row[9:12]
        of_name, of_extra, of_comment = row[12:15]
        name, extra = at + _ROW.size, at + _ROW.size + of_name
        at = extra + of_extra + of_comment
        if at > size:
            raise _damaged("a row of it is cut short")
        unpacked, packed, place = _in_64(
            table[extra : extra + of_extra], [unpacked, packed, row[-1]]
        )
        is_stored = method == _STORED and not flags & _ENCRYPTED and packed == unpacked
        # torch writes UTF-8; a name of other bytes is kept distinct rather than refused.
        text = table[name:extra].decode("utf-8", "backslashreplace")
        yield text, Entry(place, unpacked, checksum, is_stored, 0)


def _in_64(extra: bytes, numbers: list[int]) -> list[int]:
    """Return the numbers of a row, those that need more than 32 bits from what follows its name."""
    # Zip64: only the numbers that are 0xFFFFFFFF stand in the extra field, in this order.
    missing = [n for n, number in enumerate(numbers) if number == _IN_EXTRA_64]
    at = 0
    while missing and at + _EXTRA.size <= len(extra):
        kind, size = _EXTRA.unpack_from(extra, at)
        at += _EXTRA.size
        if kind == _EXTRA_64:
            if min(size, len(extra) - at) < _WIDTH_64 * len(missing):
                break
            for n, first in zip(missing, range(at, at + size, _WIDTH_64), strict=False):
                numbers[n] = int.from_bytes(extra[first : first + _WIDTH_64], "little")
            return numbers
        at += size
    if missing:
        raise _damaged("a row of it has no size")
    return numbers


def _limits(places: list[int], end: int) -> dict[int, int]:
    """Return, by each entry's place, that of the next one or of the table of contents."""
    # Overlapping entries are how zip bombs of a few bytes unpack to terabytes.
    ordered = sorted(places)
    if any(first == second for first, second in pairwise(ordered)):
        raise _damaged("two entries are in one place")
    if ordered and ordered[-1] > end:
        raise _damaged("an entry is outside the file")
    return dict(zip(ordered, [*ordered, end][1:], strict=True))


def _damaged(why: str) -> PickleError:
    return PickleError(f"Its table of contents is damaged: {why}.")
