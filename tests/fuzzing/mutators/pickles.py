"""Damage to pickles, opcode by opcode."""

import io
import pickletools
import struct
from collections.abc import Callable
from random import Random

from fuzzing.mutators import raw, values
from fuzzing.mutators.mutator import rows

Chunks = list[tuple[str, object, bytes]]  # an opcode's name, its argument, its bytes

LEGACY_PICKLES = 5  # magic number, protocol, system, object, keys of storages

GLOBALS = (
    "os system", "posix system", "subprocess Popen", "builtins eval", "builtins getattr",
    "builtins bytearray", "__builtin__ set", "collections OrderedDict", "collections Counter",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_tensor", "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_parameter_with_state", "torch._utils _rebuild_sparse_tensor",
    "torch._utils _rebuild_qtensor", "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._utils _rebuild_nested_tensor", "torch._utils _rebuild_device_tensor_from_numpy",
    "torch._tensor _rebuild_from_type_v2", "torch FloatStorage", "torch HalfStorage",
    "torch BoolStorage", "torch ComplexDoubleStorage", "torch QInt8Storage", "torch Size",
    "torch device", "torch dtype", "torch float8_e4m3fn", "torch Tensor", "torch load",
    "torch.nn.parameter Parameter", "torch.serialization _get_layout", "torch.hub load",
    "torch.storage UntypedStorage", "numpy dtype", "numpy ndarray", "numpy._core.multiarray scalar",
    "numpy.core.multiarray _reconstruct", "argparse Namespace", "pathlib PosixPath",
    "datetime datetime", "_codecs encode", "copyreg _reconstructor", "functools partial",
    "not_installed Thing", "a.b.c d.e.f", " ", "torch \x1b[2J", "é ü", "x " + "y" * 10_000,
)  # fmt: skip

OPCODES = tuple(code.code.encode("latin-1") for code in pickletools.opcodes)


def chunks_of(content: bytes) -> tuple[Chunks, bytes]:
    """The opcodes of the first pickle in `content`, and what follows it."""
    found, file = [], io.BytesIO(content)
    for opcode, argument, start in pickletools.genops(file):
        found.append((opcode.name, argument, start))
    ends = [start for _, _, start in found[1:]] + [file.tell()]
    pieces = [(n, a, content[s:e]) for (n, a, s), e in zip(found, ends, strict=True)]
    return pieces, content[file.tell() :]


def integer(value: int) -> bytes:
    """The opcode of a whole number."""
    size = value.bit_length() // 8 + 1
    long = value.to_bytes(size, "little", signed=True)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a" + bytes([len(long)]) + long


def string(value: str) -> bytes:
    """The opcode of a text; with half characters, which only a writer of other bytes can make."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def name(value: str) -> bytes:
    """The opcode of a class or function."""
    module, _, attribute = value.partition(" ")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def _value(random: Random) -> bytes:
    return random.choice((
        integer(values.number(random)),
        string(values.text(random)),
        b"G" + struct.pack(">d", random.choice(values.FLOATS)),
        random.choice(SMALL),
        name(random.choice(GLOBALS)),
        name(random.choice(GLOBALS)) + b")R",
        name(random.choice(GLOBALS)) + b"(" + _small(random) + b"tR",
        _small(random) + b"Q",
    ))  # fmt: skip


def _small(random: Random) -> bytes:
    return random.choice((*SMALL, integer(values.number(random)), string(values.text(random))))


SMALL = (
    b"N", b"\x88", b"\x89", b")", b"]", b"}", b"(t", b"(l", b"(d", b"K\x01", b"U\x00",
    b"C\x03abc", b"\x96\x04\0\0\0\0\0\0\0abcd", b"I" + b"9" * 5000 + b"\n", b"L1L\n", b"F1e999\n",
    b"V\\ud800\n", b"S'a'\n", b"U\x02\xff\xfe", b"]\x94a", b"}\x94(K\x01h\x00u", b"\x8f", b"(\x91",
    b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"\x96" + b"\xff" * 8,
    b"\x82\x01", b"P1\n", b"((((((((", b"]" * 1200 + b"a" * 1199,
)  # fmt: skip


def _of_kind(chunks: Chunks, *kinds: str) -> list[int]:
    return [at for at, (kind, _, _) in enumerate(chunks) if kind.startswith(kinds)]


def _put(chunks: Chunks, at: int, piece: bytes) -> None:
    chunks[at] = ("", None, piece)


def another_number(chunks: Chunks, random: Random) -> None:
    """Mostly sizes, strides and offsets."""
    found = _of_kind(chunks, "BININT", "LONG", "INT")
    if found:
        at = random.choice(found)
        old = chunks[at][1]
        new = random.choice((values.number(random), -old, old + 1, old * 2, 2**62))
        _put(chunks, at, integer(new))


def another_text(chunks: Chunks, random: Random) -> None:
    """Mostly keys of tensors, of storages, of devices."""
    found = _of_kind(chunks, "BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINSTRING")
    if found:
        at = random.choice(found)
        others = [str(chunks[other][1]) for other in found]
        new = random.choice((values.text(random), random.choice(others)))
        _put(chunks, at, string(new))


def another_global(chunks: Chunks, random: Random) -> None:
    found = _of_kind(chunks, "GLOBAL")
    if found:
        _put(chunks, random.choice(found), name(random.choice(GLOBALS)))


def another_value(chunks: Chunks, random: Random) -> None:
    """A value of another type where one stood."""
    found = _of_kind(chunks, "BININT", "BINUNICODE", "NONE", "NEW", "EMPTY", "GLOBAL", "BINFLOAT")
    if found:
        _put(chunks, random.choice(found), _value(random))


def another_persistent_id(chunks: Chunks, random: Random) -> None:
    found = _of_kind(chunks, "BINPERSID")
    if found:
        piece = random.choice((b"0" + _small(random) + b"Q", b"0(" + _small(random) * 3 + b"tQ"))
        _put(chunks, random.choice(found), piece)


def add_a_value(chunks: Chunks, random: Random) -> None:
    at = random.randint(0, len(chunks))
    chunks.insert(at, ("", None, _value(random) + random.choice((b"", b"0", b"1", b"a", b"s"))))


def drop_opcodes(chunks: Chunks, random: Random) -> None:
    at = random.randint(0, len(chunks))
    del chunks[at : at + random.choice((1, 1, 2, 5, 50))]


def repeat_opcodes(chunks: Chunks, random: Random) -> None:
    at = random.randint(0, len(chunks))
    piece = chunks[at : at + random.choice((1, 2, 10, 40))]
    chunks[at:at] = piece * random.choice((1, 1, 2, 1000))


def swap_opcodes(chunks: Chunks, random: Random) -> None:
    one, other = (random.randrange(len(chunks)) for _ in range(2))
    chunks[one], chunks[other] = chunks[other], chunks[one]


def another_opcode(chunks: Chunks, random: Random) -> None:
    """Another opcode before the same argument's bytes."""
    at = random.randrange(len(chunks))
    _put(chunks, at, random.choice(OPCODES) + chunks[at][2][1:])


def hold_itself(chunks: Chunks, random: Random) -> None:
    """A mapping or a list in itself, through the memo."""
    piece = random.choice(
        (b"}r\x00\x10\x00\x00X\x01\0\0\0aj\x00\x10\x00\x00s", b"]r\0\x10\0\0j\0\x10\0\0a")
    )
    chunks.insert(random.randint(2, max(2, len(chunks) - 1)), ("", None, piece))


def wrap_everything(chunks: Chunks, random: Random) -> None:
    """The whole object inside of another, or called."""
    end = len(chunks) - 1
    before, after = random.choice((
        (b"}X\x05\0\0\0model", b"s"), (b"]", b"a"), (b"(", b"t"), (b"(", b"l"),
        (name(random.choice(GLOBALS)) + b"(", b"tR"), (b"]" * 500, b"a" * 500), (b"", b"Q"),
        (name("torch._utils _rebuild_parameter") + b"(", b"\x89}tR"),
    ))  # fmt: skip
    chunks.insert(end, ("", None, after))
    chunks.insert(random.choice((1, min(2, end))), ("", None, before))


CHANGES = (
    another_number,
    another_text,
    another_global,
    another_value,
    another_persistent_id,
    add_a_value,
    drop_opcodes,
    repeat_opcodes,
    swap_opcodes,
    another_opcode,
    hold_itself,
    wrap_everything,
)


def changing(change: Callable[[Chunks, Random], None]) -> Callable[[bytes, Random], bytes]:
    """A mutator of a plain pickle out of one of its opcodes."""

    def changed(content: bytes, random: Random) -> bytes:
        chunks, rest = chunks_of(content)
        change(chunks, random)
        return b"".join(piece for _, _, piece in chunks) + rest

    changed.__name__ = change.__name__
    return changed


def legacy(change: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    """A mutator of one of the pickles that torch's old format begins with."""

    def changed(content: bytes, random: Random) -> bytes:
        pieces, rest = split_legacy(content)
        at = random.choice((3, 3, 3, 3, 4, random.randrange(len(pieces))))
        pieces[at] = change(pieces[at], random)
        return b"".join(pieces) + rest

    changed.__name__ = change.__name__
    return changed


def split_legacy(content: bytes) -> tuple[list[bytes], bytes]:
    """The pickles of torch's old format, and the bytes of its storages."""
    pieces = []
    for _ in range(LEGACY_PICKLES):
        _, rest = chunks_of(content)
        pieces.append(content[: len(content) - len(rest)])
        content = rest
    return pieces, content


def flip_in_storages(content: bytes, random: Random) -> bytes:
    """Bits of the tensors of torch's old format; not those of the sizes before them."""
    pieces, rest = split_legacy(content)
    return b"".join(pieces) + raw.flip_bits(rest, random)


def drop_a_pickle(content: bytes, random: Random) -> bytes:
    pieces, rest = split_legacy(content)
    at = random.randrange(len(pieces))
    return b"".join(pieces[:at] + pieces[at + random.choice((1, 2)) :]) + rest


PICKLE = rows(*map(changing, CHANGES))
LEGACY = (
    *rows(*(legacy(changing(change)) for change in CHANGES)),
    *rows(flip_in_storages, drop_a_pickle),
)
