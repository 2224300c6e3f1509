"""Damage to zip and tar archives, member by member."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from fuzzing.mutators import raw, values
from fuzzing.mutators.mutator import Mutator, rows
from fuzzing.mutators.pickles import CHANGES, changing

Change = Callable[[bytes, Random], bytes]

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
LOCAL_HEADER, CENTRAL_HEADER, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"

NAMES = (
    "../../evil", "/etc/passwd", "a/../../b", "archive/data.pkl", "data.pkl", "x\x1b[2Jy", "",
    "a" * 5000, "é", "a\\b", "version", "archive/.data/serialization_id", "con", "./x", "a//b",
    "a/",
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    content: bytes
    method: int = zipfile.ZIP_STORED


Members = list[Member]


def read_zip(content: bytes) -> Members:
    """The members of a whole zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [Member(info.filename, archive.read(info)) for info in archive.infolist()]


def write_zip(members: Members) -> bytes:
    """A zip archive; with names that stand twice, if they do."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name)
            info.compress_type = member.method
            archive.NameToInfo.pop(info.filename, None)  # else zipfile warns
            archive.writestr(info, member.content)
    return file.getvalue()


def _drop(members: Members, random: Random) -> None:
    del members[random.randrange(len(members))]


def _double(members: Members, random: Random) -> None:
    member = random.choice(members)
    members.insert(random.randint(0, len(members)), replace(member, content=member.content[::-1]))


def _rename(members: Members, random: Random) -> None:
    at = random.randrange(len(members))
    other = random.choice(members).name
    name = random.choice((*NAMES, other, members[at].name.upper(), members[at].name + "x"))
    members[at] = replace(members[at], name=name)


def _add(members: Members, random: Random) -> None:
    content = random.choice((b"", b"x", *raw.OTHER_FILES[:6]))
    members.insert(random.randint(0, len(members)), Member(random.choice(NAMES), content))


def _add_many(members: Members, random: Random) -> None:
    members += [Member(f"archive/data/{n + 10**6}", b"") for n in range(20_000)]


def _order(members: Members, random: Random) -> None:
    random.shuffle(members)


def _compress(members: Members, random: Random) -> None:
    method = random.choice(METHODS[1:])
    members[:] = [replace(member, method=method) for member in members]


def _compress_one(members: Members, random: Random) -> None:
    at = random.randrange(len(members))
    members[at] = replace(members[at], method=random.choice(METHODS[1:]))


def _bomb(members: Members, random: Random) -> None:
    """A member that is small here and large when it is read."""
    at = random.randrange(len(members))
    size = random.choice((16, 64, 256)) << 20
    content = members[at].content + b"\0" * size
    members[at] = replace(members[at], content=content, method=zipfile.ZIP_DEFLATED)


def _content(change: Change) -> Callable[[Members, Random], None]:
    def changed(members: Members, random: Random) -> None:
        at = random.randrange(len(members))
        new = change(members[at].content, random)
        members[at] = replace(members[at], content=new)

    changed.__name__ = f"member_{change.__name__}"
    return changed


MEMBERS = (_drop, _double, _rename, _add, _order, _compress, _compress_one)
CONTENTS = tuple(
    map(_content, (raw.truncate, raw.append_junk, raw.put_integer, raw.something_else))
)


def zipped(change: Callable[[Members, Random], None]) -> Change:
    """A mutator of a zip archive out of one of its members."""

    def changed(content: bytes, random: Random) -> bytes:
        members = read_zip(content)
        change(members, random)
        return write_zip(members)

    changed.__name__ = f"zip_{change.__name__.strip('_')}"
    return changed


def pickled(change: Change) -> Change:
    """A mutator of torch's archive out of one of the pickle in it."""

    def changed(content: bytes, random: Random) -> bytes:
        members = read_zip(content)
        at = next(at for at, member in enumerate(members) if member.name.endswith("data.pkl"))
        members[at] = replace(members[at], content=change(members[at].content, random))
        return write_zip(members)

    changed.__name__ = f"pickle_{change.__name__}"
    return changed


def header_field(content: bytes, random: Random) -> bytes:
    """Another number in a header: sizes, offsets, checksums, flags, methods."""
    header = random.choice((LOCAL_HEADER, CENTRAL_HEADER, CENTRAL_HEADER, END))
    found, at = [], content.find(header)
    while at >= 0 and len(found) < 500:
        found.append(at)
        at = content.find(header, at + 1)
    if not found:
        return content
    at = random.choice(found) + random.randrange(4, 22 if header == END else 46)
    width = random.choice((1, 2, 4))
    number = (values.number(random) % (1 << 8 * width)).to_bytes(width, "little")
    return content[:at] + number + content[at + width :]


def flip_in_members(content: bytes, random: Random) -> bytes:
    """Bits of a large member's content, whose checksum in the archive stays."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        large = [info for info in archive.infolist() if info.file_size >= 256]
        info = random.choice(
            [info for info in large if not info.filename.endswith(".pkl")] or large
        )
        at = content.find(archive.read(info))
    changed = bytearray(content)
    changed[at + random.randrange(info.file_size)] ^= 1 << random.randrange(8)
    return bytes(changed)


def tarred(change: Callable[[Members, Random], None]) -> Change:
    """A mutator of a tar archive out of one of its members."""

    def changed(content: bytes, random: Random) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = [
                Member(info.name, archive.extractfile(info).read())
                for info in archive
                if info.isfile()
            ]
        change(members, random)
        return write_tar(members)

    changed.__name__ = f"tar_{change.__name__.strip('_')}"
    return changed


def write_tar(members: Members, **facts: object) -> bytes:
    """A tar archive; `facts` are more of what its entries say."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.size = len(member.content)
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.addfile(info, io.BytesIO(member.content))
    return file.getvalue()


def another_entry(content: bytes, random: Random) -> bytes:
    """An entry of another type before all: a link, a device, a folder, a file that climbs out."""
    kinds = (
        tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
        tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.REGTYPE, b"Z",
    )  # fmt: skip
    member = Member(random.choice((*NAMES, "part/0000.png")), b"")
    facts = {"type": random.choice(kinds), "linkname": random.choice(values.TEXTS[:14])}
    try:
        entry = write_tar([member], **facts)[: tarfile.BLOCKSIZE]
    except (UnicodeError, ValueError):
        return content
    return entry + content


def tar_field(content: bytes, random: Random) -> bytes:
    """Another text or number in a tar header, with a checksum that is right."""
    blocks = len(content) // tarfile.BLOCKSIZE
    starts = [n * 512 for n in range(blocks) if content[n * 512 + 257 : n * 512 + 262] == b"ustar"]
    at = random.choice(starts or [0])
    header = bytearray(content[at : at + 512])
    start, length = random.choice(((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1)))
    text = random.choice(
        (b"7" * 12, b"-1", b"\x80" + b"\xff" * 11, b"0", b"9", b"\0" * 12, b"a/../b")
    )
    header[start : start + length] = text[:length].ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header) + content[at + 512 :]


STRUCTURE = tuple(map(zipped, (*MEMBERS, *CONTENTS)))
ZIP = (*rows(*STRUCTURE, header_field), *rows(zipped(_bomb), zipped(_add_many)))
TORCH_ZIP = (
    *ZIP,
    *rows(*(pickled(changing(change)) for change in CHANGES), weight=2),
    Mutator("flip-in-members", flip_in_members, of_tensors=True),
)
TAR = rows(
    *(tarred(change) for change in (_drop, _double, _rename, _add, _order, *CONTENTS)),
    another_entry,
    tar_field,
)
