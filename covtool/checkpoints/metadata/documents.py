"""Configurations in JSON and YAML, as programs write them beside a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covtool.documents import parse_json, parse_yaml
from covtool.regular_files import read_text

LARGEST_JSON = 4 << 20
"""Bytes of a JSON file beside a checkpoint; the names of 21,843 classes are below 2 MiB."""

LARGEST_YAML = 1 << 19
"""Bytes of a YAML file beside a checkpoint, which takes far longer to read."""

_YAML = (".yaml", ".yml")


def document(path: Path, *, encoding: str = "utf-8") -> Any:
    """Return the value in a JSON or a YAML file, as its suffix says.

    Raises:
        OSError: It cannot be read, is not a regular file, or is too large.
        ValueError: It is not JSON or YAML, or more than is read of one.
    """
    if path.suffix.lower() in _YAML:
        return parse_yaml(read_text(path, encoding=encoding, at_most=LARGEST_YAML))
    return parse_json(read_text(path, encoding=encoding, at_most=LARGEST_JSON))


def read_document(path: Path) -> Mapping[str, Any] | None:
    """Read the names and values in a file; None if it has none, is too large or unreadable."""
    try:
        value = document(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, Mapping) else None
