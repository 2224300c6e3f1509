"""Seeded damage to the text files of a run, a function for each kind; what fits no file is left."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ODD_VALUES = (
    *("", "null", "true", "yes", "text", "-1", "0", "1", "1.5", "-1e308", "1e308", ".nan", "nan"),
    *("NaN", "inf", "-inf", ".inf", "Infinity", "1e999", "9" * 30, "9" * 400, "9" * 5000),
    *(
        "[]",
        "{}",
        "[1, 2]",
        "[[]]",
        "{a: 1}",
        '{"a": 1}',
        "[1, [2, [3]]]",
        "!!python/name:os.system",
    ),
    *("$\\frac$", "\\x1b[2J", '"\\u001b[2J"', '"\\ud800"', '"\\0"', "'\x00'", "a" * 5000),
    *("/dev/zero", "../../../etc/passwd", "hf-hub:evil/x", "2020-01-01", "1_000", "0x10", "1:30"),
    *("-0", "1000000000000", "65536", "4294967296", "18446744073709551616"),
)
"""In place of a value, as text that goes into a file."""

ODD_BYTES = (
    b"\0",
    b"\xff",
    b"\x1b[2J",
    b"\xed\xa0\x80",
    b"\r",
    b"\n",
    b'"',
    b"{",
    b"[",
    b",",
    b"$",
)


@dataclass(frozen=True)
class Mutation:
    """A damaged file.

    Attributes:
        name: What was done, for the message of a test.
        content: The file; None for something else in its place.
    """

    name: str
    content: bytes | None


def bytes_of(content: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Damage that knows nothing of the format."""
    draw = random.Random(seed)
    yield Mutation("empty", b"")
    yield Mutation("binary", draw.randbytes(500))
    yield Mutation("zeros", bytes(len(content)))
    yield Mutation("zeros at the end", content[: len(content) // 2] + bytes(4096))
    yield Mutation("UTF-16", content.decode().encode("utf-16"))
    yield Mutation("byte-order mark", b"\xef\xbb\xbf" + content)
    yield Mutation("Latin-1", content.replace(b"e", b"\xe9", 1))
    yield Mutation("CRLF", content.replace(b"\n", b"\r\n"))
    yield Mutation("CR", content.replace(b"\n", b"\r"))
    yield Mutation("nested", b"[" * 100_000)
    yield Mutation("nested mappings", b'{"a":' * 100_000)
    yield Mutation("aliases", _laughs())
    yield Mutation("one long line", b"a" * 3_000_000)
    yield Mutation("twice", content + content)
    yield Mutation("no end of line", content.rstrip(b"\n"))
    for _ in range(count):
        at = draw.randrange(len(content))
        to = min(len(content), at + draw.choice((1, 2, 10, 100)))
        odd = draw.choice(ODD_BYTES)
        yield draw.choice(
            (
                Mutation(f"cut at {at}", content[:at]),
                Mutation(f"without {at} to {to}", content[:at] + content[to:]),
                Mutation(f"{odd!r} at {at}", content[:at] + odd + content[at + 1 :]),
                Mutation(f"{odd!r} before {at}", content[:at] + odd + content[at:]),
                Mutation(f"{at} to {to} twice", content[:to] + content[at:]),
            )
        )


def lines_of(content: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Damage to whole lines."""
    draw = random.Random(seed)
    lines = content.splitlines(keepends=True)
    for _ in range(count):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        swapped = list(lines)
        swapped[at], swapped[other] = swapped[other], swapped[at]
        yield draw.choice(
            (
                Mutation(f"line {at} twice", b"".join([*lines[: at + 1], *lines[at:]])),
                Mutation(f"without line {at}", b"".join(lines[:at] + lines[at + 1 :])),
                Mutation(f"lines {at} and {other} swapped", b"".join(swapped)),
                Mutation(f"lines from {at}", b"".join(lines[at:])),
                Mutation(f"an empty line {at}", b"".join([*lines[:at], b"\n", *lines[at:]])),
                Mutation(
                    f"line {at} cut", b"".join([*lines[:at], lines[at][: len(lines[at]) // 2]])
                ),
            )
        )


def yaml_of(content: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Other values of keys, more keys, keys twice and keys that are missing."""
    draw = random.Random(seed)
    lines = content.decode().splitlines(keepends=True)
    keyed = [n for n, line in enumerate(lines) if ": " in line or line.rstrip().endswith(":")]
    for _ in range(count):
        at, odd = draw.choice(keyed), draw.choice(ODD_VALUES)
        key = lines[at].split(":")[0]
        changed = [*lines[:at], f"{key}: {odd}\n", *lines[at + 1 :]]
        yield Mutation(f"{key.strip()}: {odd[:30]!r}", "".join(changed).encode("utf-8", "replace"))
    for at in (0, len(lines) // 2):
        name = lines[at].split(":")[0]
        yield Mutation(f"{name} twice", "".join([*lines, lines[at]]).encode())
    yield Mutation("an unknown key", content + b"unknown: 1\n")
    yield Mutation("a key that is a list", content + b"? [a, b]\n: 1\n")
    yield Mutation("a list", b"- 1\n- 2\n")
    yield Mutation("a tag", b"!!python/object/apply:os.system [id]\n")


def json_lines_of(content: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Other values of keys in lines of JSON, and keys that are missing."""
    draw = random.Random(seed)
    lines = content.decode().splitlines(keepends=True)
    for _ in range(count):
        at = draw.randrange(len(lines))
        row, odd = json.loads(lines[at]), draw.choice(ODD_VALUES)
        key = draw.choice(list(row))
        written = json.dumps(row)
        if draw.random() < 0.2:
            del row[key]
            text = json.dumps(row)
        else:
            old = json.dumps({key: row[key]})[1:-1]
            text = written.replace(old, f'"{key}": {odd}')
        changed = "".join([*lines[:at], text + "\n", *lines[at + 1 :]])
        yield Mutation(f"line {at}, {key}: {odd[:30]!r}", changed.encode("utf-8", "replace"))


def csv_of(content: bytes, seed: int, count: int) -> Iterator[Mutation]:
    """Other cells, columns that are missing, more, or twice."""
    draw = random.Random(seed)
    rows = [line.split(",") for line in content.decode().splitlines()]

    def text(changed: list[list[str]]) -> bytes:
        return "".join(",".join(row) + "\n" for row in changed).encode("utf-8", "replace")

    for _ in range(count):
        at, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
        odd = draw.choice(ODD_VALUES)
        changed = [list(row) for row in rows]
        changed[at][min(column, len(changed[at]) - 1)] = odd
        yield Mutation(f"line {at}, column {column}: {odd[:30]!r}", text(changed))
    for column in range(len(rows[0])):
        yield Mutation(
            f"without column {column}", text([row[:column] + row[column + 1 :] for row in rows])
        )
        yield Mutation(f"column {column} twice", text([[*row, row[column]] for row in rows]))
    yield Mutation("10^5 columns", text([[*row, *["x"] * 100_000] for row in rows[:3]]))
    yield Mutation("one more cell", text([rows[0], *([*row, "1"] for row in rows[1:])]))
    yield Mutation("an open quote", content + b'"1,2')


def in_place(path: Path, kind: str) -> None:
    """Something else than a file at a path.

    Args:
        path: Of a file, which is removed.
        kind: ``folder``, ``pipe``, ``device``, ``dangling`` or ``missing``.
    """
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to("nothing")


IN_PLACE = ("folder", "pipe", "device", "dangling", "missing")


def _laughs() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()
