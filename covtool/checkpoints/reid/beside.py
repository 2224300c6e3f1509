"""Settings that code bases write beside their checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covtool.checkpoints.metadata.documents import read_document


def settings_beside(checkpoint: Path, name: str) -> Mapping[str, Any]:
    """Return the settings in a YAML file in a checkpoint's folder; empty where there are none."""
    return read_document(checkpoint.with_name(name)) or {}


def setting(settings: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path like ``MODEL.HEADS.POOL_LAYER``; None where there is none."""
    value: Any = settings
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
