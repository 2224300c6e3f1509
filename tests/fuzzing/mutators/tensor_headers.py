"""Damage to safetensors files: to the header's JSON, its length, and the tensors' bytes."""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from fuzzing.mutators import documents, raw, values
from fuzzing.mutators.mutator import Mutator, rows

LENGTH = 8  # bytes of the header's length
DTYPES = (
    "F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64",
    "F6_E2M3", "U64", "X", "", "f32", None, 1,
)  # fmt: skip

Header = dict[str, Any]


def split(content: bytes) -> tuple[Header, bytes]:
    """The header of a whole file, and the bytes of its tensors."""
    (length,) = struct.unpack("<Q", content[:LENGTH])
    return json.loads(content[LENGTH : LENGTH + length]), content[LENGTH + length :]


def joined(header: bytes, rest: bytes, *, length: int | None = None) -> bytes:
    """A file with this header; `length` is what it says of the header's length."""
    padded = header + b" " * (-len(header) % 8)
    return struct.pack("<Q", len(padded) if length is None else length % 2**64) + padded + rest


def in_header(change: Callable[[Header, Random], None]) -> Callable[[bytes, Random], bytes]:
    """A mutator of a file out of one of its header."""

    def changed(content: bytes, random: Random) -> bytes:
        header, rest = split(content)
        change(header, random)
        return joined(documents.json_text(header, random), rest)

    changed.__name__ = change.__name__
    return changed


def _entry(header: Header, random: Random) -> dict:
    return header[random.choice([name for name in header if name != "__metadata__"])]


def another_dtype(header: Header, random: Random) -> None:
    _entry(header, random)["dtype"] = random.choice(DTYPES)


def another_shape(header: Header, random: Random) -> None:
    entry = _entry(header, random)
    shape = entry["shape"]
    entry["shape"] = random.choice((
        [], [0], [-1], [values.number(random)], [*shape, 1], [1] * 64, [2**32, 2**32], shape[::-1],
        [*shape, 0], [str(n) for n in shape], [float(n) for n in shape], None, "x", [[]],
    ))  # fmt: skip


def other_offsets(header: Header, random: Random) -> None:
    entry = _entry(header, random)
    start, end = entry["data_offsets"]
    entry["data_offsets"] = random.choice((
        [end, start], [start + 4, end + 4], [start, end + 4], [start, end - 4], [0, end], [-4, end],
        [values.number(random), values.number(random)], [start], [], [start, end, end], None,
        [str(start), str(end)], [start, start], _entry(header, random)["data_offsets"],
    ))  # fmt: skip


def without_a_field(header: Header, random: Random) -> None:
    entry = _entry(header, random)
    del entry[random.choice(list(entry))]


def any_value(header: Header, random: Random) -> None:
    documents.change_value(header, random)


def other_names(header: Header, random: Random) -> None:
    name = random.choice([name for name in header if name != "__metadata__"])
    header[random.choice((values.text(random), name + ".x", "module." + name))] = header.pop(name)


def many_tensors(header: Header, random: Random) -> None:
    """Empty ones, of which a file of a few MB holds very many."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    stem, most = random.choice((("x.", 100_000), ("layer1.0.conv", 100_000), ("a." * 200, 10_000)))
    header.update({f"{stem}{n}": entry for n in range(random.choice((1000, most)))})


def metadata(header: Header, random: Random) -> None:
    header["__metadata__"] = random.choice((
        {"format": "pt"}, {}, [], "x", {"format": 1}, {values.text(random): values.text(random)},
        {"covtool.recipe": values.text(random)},
        {"covtool.recipe": json.dumps(values.plain_value(random))},
    ))  # fmt: skip


def header_length(content: bytes, random: Random) -> bytes:
    header, rest = split(content)
    text = json.dumps(header).encode()
    length = random.choice((values.number(random), len(text) + 1, len(text) - 1, len(content)))
    return joined(text, rest, length=length)


def header_text(content: bytes, random: Random) -> bytes:
    """Damage to the header as a text."""
    header, rest = split(content)
    change = random.choice((*documents.JSON, *raw.RAW)).change
    return joined(change(json.dumps(header).encode(), random), rest)


def double_a_tensor(content: bytes, random: Random) -> bytes:
    """The same name twice, with two contents."""
    header, rest = split(content)
    name = random.choice([name for name in header if name != "__metadata__"])
    entry = _entry(header, random) if random.random() < 0.5 else header[name]
    text = json.dumps(header)
    return joined(f"{text[:-1]}, {json.dumps(name)}: {json.dumps(entry)}}}".encode(), rest)


def flip_in_tensors(content: bytes, random: Random) -> bytes:
    _, rest = split(content)
    whole = content[: len(content) - len(rest)]
    return whole + raw.flip_bits(rest, random)


def zero_in_tensors(content: bytes, random: Random) -> bytes:
    _, rest = split(content)
    at = random.randrange(0, max(1, len(rest) - 512))
    changed = bytes(byte ^ 1 for byte in rest[at : at + 512])
    return content[: len(content) - len(rest)] + rest[:at] + changed + rest[at + 512 :]


HEADER = (another_dtype, another_shape, other_offsets, without_a_field, any_value, other_names)
TENSORS = (
    Mutator("flip-in-tensors", flip_in_tensors, of_tensors=True),
    Mutator("zero-in-tensors", zero_in_tensors, of_tensors=True),
)
SAFETENSORS = (
    *rows(*map(in_header, HEADER), weight=2),
    *rows(in_header(many_tensors), in_header(metadata), header_length, header_text),
    *rows(double_a_tensor),
    *TENSORS,
)


def in_recipe(
    change: Callable[[bytes, Random], bytes], key: str
) -> Callable[[bytes, Random], bytes]:
    """A mutator of a file out of one of the JSON under a key of its metadata."""

    def changed(content: bytes, random: Random) -> bytes:
        header, rest = split(content)
        new = change(header["__metadata__"][key].encode(), random)
        header["__metadata__"][key] = new.decode("utf-8", "replace")
        return joined(json.dumps(header).encode(), rest)

    changed.__name__ = f"recipe_{change.__name__}"
    return changed


RECIPE = tuple(
    Mutator(row.name, in_recipe(row.change, "covtool.recipe"), weight=row.weight)
    for row in documents.JSON
)
