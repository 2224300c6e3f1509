"""JSON and YAML: plain values, or one ValueError with a reason in one line.

The cost of a document is bounded before it is built: its nesting, and the values that aliases of
YAML multiply ("billion laughs"). A key that stands twice in one mapping is refused: one of two
values would be lost in silence.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from covtool.printable import printable

DEEPEST = 64
"""Mappings and lists within one another."""

MOST_VALUES = 1_000_000
"""Values in one YAML document, those that aliases repeat included."""

_MERGE = "tag:yaml.org,2002:merge"
_TOO_LONG = "integer string conversion"  # in Python's error about a number of over 4300 digits

# A string that does not end is one to the end: the parser refuses it.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)

# The types know one class alone; libyaml's is many times faster, where it is installed.
if TYPE_CHECKING:
    _SafeLoader = yaml.SafeLoader
else:
    _SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_json(text: str) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: It is not JSON; it is nested deeper than `DEEPEST`; a key stands twice; it has
            half a character (a lone surrogate) or a number that is too long.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
            ...
        ValueError: The key 'a' stands twice.
    """
    _require_shallow(text)
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError as problem:
        raise _too_deep() from problem
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno:,}, column {problem.colno:,}"
        raise ValueError(f"It is not JSON: {printable(problem.msg)}, {where}.") from problem
    except ValueError as problem:
        raise _number_or(problem) from problem
    # Python's decoder accepts half of a surrogate pair, which then fails wherever it is written.
    if "\\ud" in text or "\\uD" in text:
        _require_whole_characters(json.dumps(value, ensure_ascii=False))
    return value


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document of plain values, without tags; dates stay text.

    Raises:
        ValueError: It is not YAML; it has tags; it is nested deeper than `DEEPEST`; it stands for
            more values than `MOST_VALUES`; a key stands twice or is not a plain value.

    Example:
        >>> parse_yaml("lr: 0.1")
        {'lr': 0.1}
        >>> parse_yaml("!!python/object/apply:os.system [id]")
        Traceback (most recent call last):
            ...
        ValueError: It has a tag, 'tag:yaml.org,2002:python/object/apply:os.system'.
    """
    try:
        _require_bounded(yaml.parse(text, Loader=_SafeLoader))
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as problem:
        raise ValueError(f"It is not YAML: {_reason(problem)}.") from problem
    except ValueError as problem:
        raise _number_or(problem) from problem
    except RecursionError as problem:
        raise _too_deep() from problem


class _PlainLoader(_SafeLoader):
    """Loads plain values; a mapping whose key stands twice is an error."""

    # Without dates: ``2024-01-01`` is the name of a run or a class, and JSON has no dates.
    yaml_implicit_resolvers = {  # noqa: RUF012 -- yaml's own name, of the class
        first: [(tag, rule) for tag, rule in rules if not tag.endswith(":timestamp")]
        for first, rules in _SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != _MERGE]
        keys = [self.construct_object(key, deep=True) for key in own]
        if not all(isinstance(key, str | int | float | bool | None) for key in keys):
            raise ValueError("A key is a list or a mapping.")
        _object([(key, None) for key in keys])
        # With `<<`, which own keys override.
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _object(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[Any] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"The key {printable(str(key))!r} stands twice.")
            seen.add(key)
    return found


@dataclass
class _Extent:
    """Size of a document, counted from the parser's events without building its values."""

    values: int = 0
    # Values in what has an anchor; under None stands what has none, and no alias asks for it.
    anchored: dict[str | None, int] = field(default_factory=dict)
    around: list[tuple[str | None, int]] = field(default_factory=list)  # anchor, values before it

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchored:
                raise ValueError("It holds itself, or an alias of nothing.")
            self.values += self.anchored[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            self.around.append((event.anchor, self.values))
            self.anchored.pop(event.anchor, None)
            self.values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.around.pop()
            self.anchored[anchor] = self.values - before
        elif isinstance(event, yaml.ScalarEvent):
            self.values += 1
            self.anchored[event.anchor] = 1


def _require_bounded(events: Iterator[yaml.Event]) -> None:
    extent = _Extent()
    for event in events:
        tag = getattr(event, "tag", None)  # an alias, or an end, has none
        if tag is not None:
            raise ValueError(f"It has a tag, {printable(tag)!r}.")
        extent.take(event)
        if len(extent.around) > DEEPEST:
            raise _too_deep()
        if extent.values > MOST_VALUES:
            raise ValueError(f"It stands for more than {MOST_VALUES:,} values.")


def _require_shallow(text: str) -> None:
    """Refuse deep nesting by the brackets outside of strings; the parser itself would recurse."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        found = match[0]
        if found in "[{":
            depth += 1
            if depth > DEEPEST:
                raise _too_deep()
        elif found in "]}":
            depth -= 1


def _require_whole_characters(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise ValueError("It has half a character in it, a lone surrogate.") from problem


def _too_deep() -> ValueError:
    return ValueError(f"It is nested more than {DEEPEST} levels deep.")


def _number_or(problem: ValueError) -> ValueError:
    if _TOO_LONG in str(problem):
        return ValueError("It has a whole number of thousands of digits.")
    return problem


def _reason(problem: yaml.YAMLError) -> str:
    what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    mark = getattr(problem, "problem_mark", None)
    where = f", line {mark.line + 1:,}, column {mark.column + 1:,}" if mark else ""
    return printable(f"{what}{where}")
