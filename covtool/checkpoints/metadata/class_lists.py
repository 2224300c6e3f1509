"""Class names out of the lists, mappings and files in which programs keep them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from covtool.checkpoints.metadata.documents import LARGEST_JSON, document
from covtool.errors import DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import read_text

LONGEST_NAME = 1_000
"""Characters of the name of a class, and of a line that names one."""

_INDEX_BITS = 64
_ENCODING = "utf-8-sig"  # else a byte order mark would be a part of the first name
_PLACEHOLDER = re.compile(r"LABEL_\d+")  # what transformers writes where no names were given
_NUMBERED = (
    re.compile(r"(?P<index>\d+)\s*[,:;\t ]\s*(?P<name>\S.*)"),
    re.compile(r"(?P<name>.*\S)\s*[,:;\t ]\s*(?P<index>\d+)"),
)


class NotNamesError(ValueError):
    """What looks like class names cannot be them; the text says why."""


def names_of(value: Any) -> tuple[str, ...] | None:
    """Return class names in the order of the outputs; None where a value is not a list of names.

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
    if names and any(len(name) > LONGEST_NAME for name in names):
        raise NotNamesError(f"a name has more than {LONGEST_NAME} characters")
    if not names or all(_PLACEHOLDER.fullmatch(name) for name in names):
        return None
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise NotNamesError(
            f"{printable(name)!r} is the name of {times} of its {len(names)} classes"
        )
    return names


def _of_mapping(value: Mapping) -> tuple[str, ...] | None:
    pairs = [(_first(key), _first(item)) for key, item in value.items()]
    # Names to indices first: the names may be digits themselves, as those of MNIST.
    if all(isinstance(item, int) and not isinstance(item, bool) for _, item in pairs):
        indexed = {item: str(key) for key, item in pairs if not _is_long(key)}
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
    """Return the WordNet id of a pair of id and word, as Keras writes; else the value itself."""
    is_pair = isinstance(value, list | tuple) and value and isinstance(value[0], str)
    return value[0] if is_pair else value


def _is_index(value: Any) -> bool:
    if isinstance(value, bool) or _is_long(value):
        return False
    return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())


def _is_long(value: Any) -> bool:
    """Return whether a number has more digits than Python converts, or than any index has."""
    if isinstance(value, str):
        return len(value) > LONGEST_NAME
    return isinstance(value, int) and value.bit_length() > _INDEX_BITS


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return class names of a file: a name a line, or JSON or YAML as `names_of` takes them.

    Lines may be numbered, from 0 or from 1: ``3 tench``, ``3: tench``, ``tench,3``, ``/t/tench 3``.

    Raises:
        DataError: It cannot be read, or holds no names.
    """
    try:
        names = _parsed(path)
    except (OSError, ValueError) as problem:
        raise DataError(f"{path} does not name classes.", reason=reason_of(problem)) from problem
    if not names:
        raise DataError(
            f"{path} does not name classes.",
            hint="Give a text file with a name a line in the order of the outputs, or JSON: a list "
            "of names, or a mapping of names to indices.",
        )
    return names


def _parsed(path: Path) -> tuple[str, ...] | None:
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return _of_document(document(path, encoding=_ENCODING))
    text = read_text(path, encoding=_ENCODING, at_most=LARGEST_JSON)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(len(line) > LONGEST_NAME for line in lines):
        raise NotNamesError(f"a line has more than {LONGEST_NAME} characters")
    return names_of(_unnumbered(lines))


def _of_document(value: Any) -> tuple[str, ...] | None:
    """Return the names themselves, or below one of the keys under which they are kept."""
    names = names_of(value)
    if names is None and isinstance(value, Mapping):
        inside = (names_of(value[key]) for key in value if str(key).lower() in CLASS_KEYS)
        names = next((found for found in inside if found), None)
    return names


def _unnumbered(lines: Sequence[str]) -> list[str]:
    """Return names of lines that count up, in the order of their numbers; else the lines."""
    for pattern in _NUMBERED:
        # Most lists are not numbered, which the first line shows.
        matches = list(takewhile(bool, map(pattern.fullmatch, lines)))
        if len(matches) < len(lines):
            continue
        indexed = {int(match["index"]): match["name"] for match in matches}
        first = min(indexed, default=0)
        # Lines may have numbers for other reasons: years, sizes.
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
"""Keys under which programs keep class names, in lower case; the most explicit first."""
