"""Settings that code bases write beside their checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covtool.checkpoints.told.documents import read_document


def settings_beside(checkpoint: Path, name: str) -> Mapping[str, Any]:
    """The settings in a YAML file in a checkpoint's folder; empty where there are none."""
    return read_document(checkpoint.with_name(name)) or {}


def setting(settings: Mapping[str, Any], path: str) -> Any:
    """The value at a path like ``MODEL.HEADS.POOL_LAYER``; None where there is none."""
    value: Any = settings
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def size_setting(settings: Mapping[str, Any], path: str) -> tuple[int, int] | None:
    """Height and width at a path; None where there are not two whole numbers, or one."""
    value = setting(settings, path)
    sides = list(value) if isinstance(value, list | tuple) else [value]
    if not all(type(side) is int and side > 0 for side in sides) or len(sides) > 2:
        return None
    return (sides[0], sides[-1])
