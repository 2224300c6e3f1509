"""Class names out of the lists, mappings and files in which programs keep them."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from covtool.checkpoints.told.documents import LARGEST_FILE
from covtool.errors import DataError

_PLACEHOLDER = re.compile(r"LABEL_\d+")  # what transformers writes where nobody gave names
_NUMBERED = (
    re.compile(r"(?P<index>\d+)\s*[,:;\t ]\s*(?P<name>\S.*)"),
    re.compile(r"(?P<name>.*\S)\s*[,:;\t ]\s*(?P<index>\d+)"),
)


class NotNamesError(ValueError):
    """What looks like class names cannot be; the text says why."""


def names_of(value: Any) -> tuple[str, ...] | None:
    """Class names in the order of the outputs; None where a value is no list of names.

    Args:
        value: A list of names; a mapping of names to indices or of indices to names, ordered by
            the indices, whatever their order in it.

    Raises:
        NotNamesError: The indices are not 0 to K - 1, each once; or two classes have one name.
    """
    if isinstance(value, Mapping):
        names = _of_mapping(value)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        names = tuple(value) if all(isinstance(name, str) for name in value) else None
    else:
        names = None
    if not names or all(_PLACEHOLDER.fullmatch(name) for name in names):
        return None
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise NotNamesError(f"{name!r} is the name of {times} of its {len(names)} classes")
    return names


def _of_mapping(value: Mapping) -> tuple[str, ...] | None:
    pairs = [(_first(key), _first(item)) for key, item in value.items()]
    if all(isinstance(item, int) and not isinstance(item, bool) for _, item in pairs):
        indexed = {item: str(key) for key, item in pairs}
    elif all(isinstance(item, str) and _is_index(key) for key, item in pairs):
        indexed = {int(key): item for key, item in pairs}
    elif all(isinstance(key, str) and _is_index(item) for key, item in pairs):
        indexed = {int(item): key for key, item in pairs}
    else:
        return None
    if sorted(indexed) != list(range(len(pairs))):
        raise NotNamesError(
            f"the indices of its {len(pairs)} classes are not 0 to {len(pairs) - 1}"
        )
    return tuple(indexed[index] for index in range(len(pairs)))


def _first(value: Any) -> Any:
    """The WordNet id of a pair of id and word, as Keras writes them; else the value itself."""
    is_pair = isinstance(value, list | tuple) and value and isinstance(value[0], str)
    return value[0] if is_pair else value


def _is_index(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names of a file: a name a line, or JSON or YAML as `names_of` takes them.

    Lines may be numbered, from 0 or from 1: ``3 tench``, ``3: tench``, ``tench,3``, ``/t/tench 3``.

    Raises:
        DataError: It cannot be read, or holds no names.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise NotNamesError(f"it is larger than {LARGEST_FILE // 2**20} MiB")
        names = _parsed(path.suffix.lower(), path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as problem:
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise DataError(f"{path} does not name classes.", reason=f"{reason}.") from problem
    if not names:
        raise DataError(
            f"{path} does not name classes.",
            hint="Give a text file with a name a line in the order of the outputs, or JSON: a list "
            "of names, or a mapping of names to indices.",
        )
    return names


def _parsed(suffix: str, text: str) -> tuple[str, ...] | None:
    if suffix == ".json":
        return _of_document(json.loads(text))
    if suffix in (".yaml", ".yml"):
        return _of_document(yaml.safe_load(text))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return names_of(_unnumbered(lines))


def _of_document(value: Any) -> tuple[str, ...] | None:
    """The names themselves, or below one of the keys under which they are kept."""
    names = names_of(value)
    if names is None and isinstance(value, Mapping):
        inside = (names_of(value[key]) for key in value if str(key).lower() in CLASS_KEYS)
        names = next((found for found in inside if found), None)
    return names


def _unnumbered(lines: Sequence[str]) -> list[str]:
    """Names of lines that count up, in the order of their numbers; else the lines."""
    for pattern in _NUMBERED:
        matches = [pattern.fullmatch(line) for line in lines]
        if not all(matches):
            continue
        indexed = {int(match["index"]): match["name"] for match in matches}
        first = min(indexed, default=0)
        counts_up = sorted(indexed) == list(range(first, first + len(lines)))
        if first in (0, 1) and counts_up and len(set(indexed.values())) == len(lines):
            return [indexed[index] for index in sorted(indexed)]
    return list(lines)


CLASS_KEYS = (
    "class_to_idx",
    "class_to_index",
    "cls_to_idx",
    "label_to_idx",
    "label_to_id",
    "idx_to_class",
    "index_to_class",
    "idx_to_label",
    "idx2class",
    "class2idx",
    "idx2label",
    "label2idx",
    "id2label",
    "label2id",
    "class_names",
    "classnames",
    "class_labels",
    "label_names",
    "target_names",
    "classes",
    "labels",
    "categories",
    "names",
    "vocab",
)
"""Under which programs keep class names, in lower case; the most explicit first."""
