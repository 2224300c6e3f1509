"""Damage to JSON and YAML: by their values, and by their text."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import yaml

from fuzzing.mutators import values
from fuzzing.mutators.mutator import Mutator, rows

Place = tuple[Any, Any]  # a list or mapping, and an index or key in it


def places(value: Any) -> Iterator[Place]:
    """Every place in a document where a value stands; what aliases repeat is visited once."""
    seen: set[int] = set()
    ahead = [value]
    while ahead:
        around = ahead.pop()
        if not isinstance(around, dict | list) or id(around) in seen:
            continue
        seen.add(id(around))
        keys = list(around if isinstance(around, dict) else range(len(around)))
        yield from ((around, key) for key in keys)
        ahead.extend(around[key] for key in reversed(keys))


def change_value(document: Any, random: Random) -> Any:
    """The document with a change at one place, or several."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        found = list(places(document))
        if not found:
            return values.plain_value(random)
        around, key = random.choice(found)
        random.choice(_CHANGES)(around, key, random)
    return document


def _replace(around: Any, key: Any, random: Random) -> None:
    around[key] = values.plain_value(random)


def _nudge(around: Any, key: Any, random: Random) -> None:
    """Another value of the same type."""
    old = around[key]
    if isinstance(old, bool) or old is None:
        around[key] = values.plain_value(random, depth=0)
    elif isinstance(old, int):
        around[key] = random.choice((values.number(random), old + 1, -old, float(old), str(old)))
    elif isinstance(old, float):
        around[key] = random.choice((*values.FLOATS, -old, old * 1e9, str(old)))
    elif isinstance(old, str):
        around[key] = random.choice((values.text(random), old + values.text(random), old.upper()))
    elif isinstance(old, list):
        around[key] = random.choice(([], old * 2, old[:-1], old * 3000, [old], old[::-1]))
    else:
        around[key] = random.choice(({}, [old], {"a": old}, list(old)))


def _drop(around: Any, key: Any, random: Random) -> None:
    del around[key]


def _rename(around: Any, key: Any, random: Random) -> None:
    if isinstance(around, dict):
        name = str(key)
        around[random.choice((values.text(random), name + "s", name.upper(), "_" + name))] = (
            around.pop(key)
        )
    else:
        around.append(around[key])


def _add(around: Any, key: Any, random: Random) -> None:
    if isinstance(around, dict):
        around[values.text(random)] = values.plain_value(random)
    else:
        around.insert(key, values.plain_value(random))


def _nest(around: Any, key: Any, random: Random) -> None:
    for _ in range(random.choice((1, 2, 65, 300))):
        around[key] = random.choice(([around[key]], {"a": around[key]}))


_CHANGES = (_replace, _replace, _nudge, _nudge, _nudge, _drop, _rename, _add, _nest)


def _written(document: Any, random: Random, write: Callable[[Any], str]) -> bytes:
    return write(document).encode("utf-8", "surrogatepass")


def json_text(document: Any, random: Random) -> bytes:
    """JSON, in one of its ways of being written."""
    text = json.dumps(document, ensure_ascii=random.random() < 0.7)
    return text.encode("utf-8", "surrogatepass")


def yaml_text(document: Any, random: Random) -> bytes:
    """YAML; what its writer does not know is written as JSON, most of which is YAML too."""
    try:
        text = yaml.safe_dump(document, allow_unicode=random.random() < 0.5, sort_keys=False)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return json_text(document, random)
    return text.encode("utf-8", "surrogatepass")


def json_values(content: bytes, random: Random) -> bytes:
    return json_text(change_value(_read_json(content), random), random)


def yaml_values(content: bytes, random: Random) -> bytes:
    return yaml_text(change_value(yaml.safe_load(content), random), random)


def double_a_key(content: bytes, random: Random) -> bytes:
    """A key stands twice in a mapping of JSON, with two values."""
    text = json.dumps(_read_json(content))
    key, value = values.text(random), json.dumps(values.plain_value(random))
    keys = [key for around, key in places(json.loads(text)) if isinstance(around, dict)]
    key = json.dumps(random.choice([*keys, key]))
    openings = [at for at, character in enumerate(text) if character == "{"]
    at = random.choice(openings or [0]) + 1
    return f"{text[:at]}{key}: {value}, {key}: {value},{text[at:]}".encode()


def put_a_token(content: bytes, random: Random) -> bytes:
    """A piece of syntax in the middle of a text."""
    at = random.randint(0, len(content))
    return content[:at] + random.choice(TOKENS) + content[at:]


def double_a_line(content: bytes, random: Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    lines.insert(random.randint(0, len(lines)), lines[at])
    return b"".join(lines)


def shift_a_line(content: bytes, random: Random) -> bytes:
    """Another indentation, which in YAML is structure."""
    lines = content.splitlines(keepends=True) or [b""]
    at = random.randrange(len(lines))
    lines[at] = random.choice((b" " + lines[at], b"\t" + lines[at], lines[at].lstrip()))
    return b"".join(lines)


def another_encoding(content: bytes, random: Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(random.choice(ENCODINGS), "replace")


def laughs(content: bytes, random: Random) -> bytes:
    """Aliases that stand for many values ("billion laughs")."""
    levels = random.choice((3, 9, 20, 40))
    lines = ['a0: &a0 ["lol", "lol"]']
    for level in range(1, levels):
        several = ", ".join([f"*a{level - 1}"] * random.choice((2, 9)))
        lines.append(f"a{level}: &a{level} [{several}]")
    added = "\n".join(lines).encode()
    return random.choice((added + b"\n" + content, content + b"\n" + added))


def tag_a_value(content: bytes, random: Random) -> bytes:
    found = [at for at in range(len(content)) if content[at : at + 2] == b": "]
    at = random.choice(found or [0]) + 2
    return content[:at] + random.choice(TAGS) + b" " + content[at:]


TOKENS = (
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b"NaN",
    b"-Infinity", b"1e999", b"9" * 5000, b"---\n", b"...\n", b"&a ", b"*a ", b"<<: *a\n", b"? ",
    b"- ", b"# ", b"| ", b"> ", b"%YAML 9.9\n", b"\t", b"\0", b"\xef\xbb\xbf", b"\xff", b"\x85",
    b"!", b"@", b"`", b"0x", b"2026-01-01", b"12:30:45", b"0o17", b"1_000", b"yes", b"~", b"=",
    b"[" * 1000, b"{a: " * 1000, b"- " * 1000,
)  # fmt: skip

TAGS = (
    b"!!python/object/apply:os.system [id]", b"!!python/name:os.system", b"!!binary aGk=", b"!!set",
    b"!!timestamp", b"!!int", b"!!float", b"!x", b"!!omap", b"&b", b"&b [*b]", b"*b",
    b"!!python/tuple",
)  # fmt: skip

ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252", "shift-jis")

TEXT = rows(double_a_line, another_encoding, put_a_token)
JSON = (
    Mutator("json-values", json_values, weight=8),
    *rows(double_a_key),
    *TEXT,
)
YAML = (
    Mutator("yaml-values", yaml_values, weight=8),
    *rows(laughs, tag_a_value, shift_a_line),
    *TEXT,
)


def _read_json(content: bytes) -> Any:
    return json.loads(content)
