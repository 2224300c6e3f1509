"""Configurations in JSON and YAML, as programs write them beside a checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 16 * 2**20  # bytes; the names of 21,843 classes are below 2 MiB


def read_document(path: Path) -> Mapping[str, Any] | None:
    """The names and values in a file; None where it has none, is too large or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return None
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return value if isinstance(value, Mapping) else None
