"""Damage to tables in text: CSV, and lines of JSON."""

import csv
import io
import json
from random import Random

from fuzzing.mutators import documents, values
from fuzzing.mutators.mutator import Mutator, rows

CELLS = (
    "", " ", "nan", "inf", "-1", "1e999", "9" * 5000, "1,5", "'", '"', '""', "a\nb", "=1+1", "\t",
    "../../../etc/passwd", "/etc/passwd", "/dev/zero", "C:\\x", "~", "*", "\x00", "\ufeff", "a;b",
    "None", "True", "[1, 2]", "{}", "10000000000", "1_0", "١٢", "½", "a|b",
)  # fmt: skip


def _read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode())))


def _written(table: list[list[str]], **style: str) -> bytes:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", **style).writerows(table)
    return file.getvalue().encode("utf-8", "surrogatepass")


def another_cell(content: bytes, random: Random) -> bytes:
    table = _read(content)
    row = random.choice(table or [[""]])
    if row:
        other = random.choice(random.choice(table) or [""])
        row[random.randrange(len(row))] = random.choice(
            (random.choice(CELLS), values.text(random), other)
        )
    return _written(table)


def another_column(content: bytes, random: Random) -> bytes:
    """The same in every line."""
    table = _read(content)
    at, cell = random.randrange(len(table[0])), random.choice((*CELLS, values.text(random)))
    for row in table[random.choice((0, 1)) :]:
        if at < len(row):
            row[at] = cell
    return _written(table)


def fewer_cells(content: bytes, random: Random) -> bytes:
    table = _read(content)
    row = random.choice(table)
    del row[random.randrange(len(row) or 1) :]
    return _written(table)


def more_cells(content: bytes, random: Random) -> bytes:
    table = _read(content)
    row = random.choice((table[0], random.choice(table)))
    row += random.choice(([random.choice(CELLS)] * 2, [random.choice(CELLS)[:9]] * 100_000))
    return _written(table)


def shuffled(content: bytes, random: Random) -> bytes:
    table = _read(content)
    random.choice((table, table[0])).sort(key=lambda _: random.random())
    return _written(table)


def doubled_header(content: bytes, random: Random) -> bytes:
    table = _read(content)
    table[0][random.randrange(len(table[0]))] = random.choice(table[0])
    return _written(table)


def another_dialect(content: bytes, random: Random) -> bytes:
    return _written(_read(content), delimiter=random.choice(";\t| "))


def many_lines(content: bytes, random: Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b"\n"]
    return content + random.choice(lines) * random.choice((100, 500))


def a_line_of_json(content: bytes, random: Random) -> bytes:
    """One of the lines, with other values."""
    lines = content.decode().splitlines() or ["{}"]
    at = random.randrange(len(lines))
    new = documents.change_value(json.loads(lines[at]), random)
    lines[at] = documents.json_text(new, random).decode("utf-8", "replace")
    return "\n".join(lines).encode()


def _cells_of(content: bytes) -> list[list[str]]:
    return [line.split(" ") for line in content.decode().splitlines()]


def another_word(content: bytes, random: Random) -> bytes:
    """In a list whose lines are words with spaces between them."""
    table = _cells_of(content) or [[""]]
    row = random.choice(table)
    other = random.choice(random.choice(table))
    new = random.choice((random.choice(CELLS), values.text(random), other, row[0] * 2))
    row[random.randrange(len(row))] = new
    text = "\n".join(" ".join(row) for row in table)
    return text.encode("utf-8", "surrogatepass")


def another_line_end(content: bytes, random: Random) -> bytes:
    return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\0", b"\x85", b" ")))


CSV = (
    *rows(another_cell, another_column, weight=3),
    *rows(
        fewer_cells, more_cells, shuffled, doubled_header, another_dialect, many_lines,
    ),
    *documents.TEXT,
)  # fmt: skip
LISTS = (
    *rows(another_word, weight=6),
    *rows(another_line_end, many_lines),
    *documents.TEXT,
)
JSON_LINES = (
    Mutator("a-line-of-json", a_line_of_json, weight=6),
    *rows(many_lines),
    *documents.TEXT,
)
