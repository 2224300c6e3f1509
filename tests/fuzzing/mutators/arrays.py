"""Damage to NumPy's files: an archive of arrays, each with a header in Python's syntax."""

import struct
from dataclasses import replace
from random import Random

from fuzzing.mutators.archives import read_zip, write_zip
from fuzzing.mutators.mutator import rows

MAGIC = b"\x93NUMPY\x01\x00"

DESCRIPTIONS = (
    "'|O'",
    "'<f4'",
    "'>f8'",
    "'<c16'",
    "'<U5'",
    "'<U100000000'",
    "'|V8'",
    "'<M8[s]'",
    "'|S0'",
    "'?'",
    "[('a', '<f4'), ('b', '|O')]",
    "'x'",
    "None",
    "''",
    "'<f2'",
    "'<i8'",
    "[]",
    "('<f4', (10**9,))",
)

SHAPES = (
    "()",
    "(0,)",
    "(1,)",
    "(9,)",
    "(9, 10)",
    "(10, 9)",
    "(9, 0)",
    "(-1,)",
    "(10**12,)",
    "(2**62, 8)",
    "(1,) * 64",
    "None",
    "'x'",
    "(9.0,)",
    "(True,)",
    "[9]",
    "9",
    "(9, 10, 1)",
    "(10**5, 10**5)",
)


def array(description: str, shape: str, content: bytes) -> bytes:
    """An array's file, whatever its header says."""
    text = f"{{'descr': {description}, 'fortran_order': False, 'shape': {shape}, }}"
    header = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return MAGIC + struct.pack("<H", len(header)) + header + content


def another_array(content: bytes, random: Random) -> bytes:
    """One of the arrays has another type or another shape, and perhaps its bytes."""
    members = read_zip(content)
    at = random.randrange(len(members))
    data = members[at].content
    start = 10 + struct.unpack("<H", data[8:10])[0]
    objects = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x07touch x\x85R."
    bytes_ = random.choice((data[start:], data[start:], objects, b""))
    new = array(random.choice(DESCRIPTIONS), random.choice(SHAPES), bytes_)
    members[at] = replace(members[at], content=new)
    return write_zip(members)


def another_header(content: bytes, random: Random) -> bytes:
    """The header of an array is another text: code, deep, long, none."""
    members = read_zip(content)
    at = random.randrange(len(members))
    text = random.choice((
        b"__import__('os').system('touch x')", b"{" * 5000, b"(" * 200 + b")" * 200, b"", b"{}",
        b"1" * 9000,
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"1," * 3000 + b")}",
    ))  # fmt: skip
    new = MAGIC + struct.pack("<H", len(text)) + text
    members[at] = replace(members[at], content=new + members[at].content[128:])
    return write_zip(members)


ARRAYS = rows(another_array, another_header, weight=5)
