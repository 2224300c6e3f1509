"""Damage to bytes of any kind."""

from random import Random

from fuzzing.mutators import values
from fuzzing.mutators.mutator import rows


def flip_bits(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8, 64)) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_bits_near_the_start(content: bytes, random: Random) -> bytes:
    head = min(len(content), random.choice((16, 64, 512, 4096)))
    return flip_bits(content[:head], random) + content[head:]


def flip_bits_near_the_end(content: bytes, random: Random) -> bytes:
    tail = max(0, len(content) - random.choice((16, 64, 512, 4096)))
    return content[:tail] + flip_bits(content[tail:], random)


def truncate(content: bytes, random: Random) -> bytes:
    at = random.choice((0, 1, 2, 4, 7, 8, 9, 16, len(content) // 2, len(content) - 1))
    return content[: random.choice((at, random.randint(0, len(content))))]


def drop_the_start(content: bytes, random: Random) -> bytes:
    return content[random.choice((1, 2, 8, random.randint(0, len(content)))) :]


def cut_out(content: bytes, random: Random) -> bytes:
    start, length = _span(content, random)
    return content[:start] + content[start + length :]


def repeat(content: bytes, random: Random) -> bytes:
    start, length = _span(content, random)
    piece = content[start : start + length]
    return content[:start] + piece * random.choice((2, 2, 3, 50)) + content[start + length :]


def zero_out(content: bytes, random: Random) -> bytes:
    start, length = _span(content, random)
    piece = random.choice((b"\0", b"\xff", b"A")) * len(content[start : start + length])
    return content[:start] + piece + content[start + length :]


def move(content: bytes, random: Random) -> bytes:
    start, length = _span(content, random)
    rest = content[:start] + content[start + length :]
    to = random.randint(0, len(rest))
    return rest[:to] + content[start : start + length] + rest[to:]


def insert_junk(content: bytes, random: Random) -> bytes:
    at = random.randint(0, len(content))
    return content[:at] + random.randbytes(random.choice((1, 2, 4, 8, 300))) + content[at:]


def append_junk(content: bytes, random: Random) -> bytes:
    return content + random.choice((b"\0", b"\n", random.randbytes(64), b"\0" * 4096, content))


def put_integer(content: bytes, random: Random) -> bytes:
    """An interesting whole number over bytes that may have been one."""
    width = random.choice((1, 2, 4, 8))
    order = random.choice(("little", "big"))
    piece = (values.number(random) % (1 << 8 * width)).to_bytes(width, order)
    head = min(len(content), random.choice((64, 512, len(content))))
    at = random.randint(0, max(0, head - width))
    return content[:at] + piece + content[at + width :]


def put_text(content: bytes, random: Random) -> bytes:
    at = random.randint(0, len(content))
    piece = values.text(random).encode("utf-8", "surrogatepass")
    return content[:at] + piece + content[at + random.choice((0, len(piece))) :]


def something_else(content: bytes, random: Random) -> bytes:
    """A file of quite another kind."""
    return random.choice(OTHER_FILES)


OTHER_FILES = (
    b"",
    b"\0",
    b"\n",
    b"{}",
    b"[]",
    b"null",
    b"\x80\x02.",
    b"PK\x05\x06" + b"\0" * 18,
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print quit\n",
    b"%PDF-1.4\n%%EOF\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"\x89HDF\r\n\x1a\n" + b"\0" * 64,
    b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O', } ",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"\x1f\x8b\x08\0\0\0\0\0\0\3",
    b"BZh9",
    b"\x7fELF\x02\x01\x01",
    b"\xff\xfea\0b\0",
    b"A" * 100_000,
    b"\0" * 100_000,
    b"[" * 100_000,
)

RAW = rows(
    flip_bits,
    flip_bits_near_the_start,
    flip_bits_near_the_end,
    truncate,
    drop_the_start,
    cut_out,
    repeat,
    zero_out,
    move,
    insert_junk,
    append_junk,
    put_integer,
    put_text,
    something_else,
)


def _span(content: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(content))
    longest = random.choice((1, 4, 32, 1024, max(1, len(content))))
    return start, random.randint(1, longest)
