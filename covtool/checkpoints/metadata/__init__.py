"""Statements of a checkpoint about itself: its entries, its name, the files beside it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from covtool.checkpoints.metadata.beside import beside, class_files, inside
from covtool.checkpoints.metadata.documents import LARGEST_JSON
from covtool.checkpoints.metadata.entries import as_entries, read_entries
from covtool.checkpoints.metadata.mm_config import read_mm_config, read_mm_entries
from covtool.checkpoints.metadata.names import (
    by_file_name,
    by_folder_name,
    hinted_architecture,
)
from covtool.checkpoints.metadata.statements import Statement, Statements
from covtool.documents import parse_json

__all__ = ["Statement", "Statements", "read_statements"]

_ENTRIES = "the file itself"
_METADATA = "the file's metadata"
_MM_CONFIG = "the file's configuration"


def read_statements(path: Path, loaded: Any, metadata: Mapping[str, str]) -> Statements:
    """Read everything that a checkpoint, its name and its folder state about it.

    In the order of trust: entries of the file; safetensors metadata; the published name of the
    file; configurations beside it; a name that contains a published one; a folder's name.

    Args:
        path: The file.
        loaded: Content of the file: plain values, mappings, namespaces, tensors.
        metadata: Metadata of a safetensors file.
    """
    own = as_entries(loaded) or {}
    own = {key: value for key, value in own.items() if not isinstance(value, Tensor)}
    described = _decoded(metadata)
    name = by_file_name(path)
    exact = name is not None and name.is_exact
    # A whole published name beats a configuration beside the file, a part of one does not.
    sources = (
        *inside(_ENTRIES, own),
        read_entries(_ENTRIES, own),
        _mm_config(own),
        *inside(_METADATA, described),
        read_entries(_METADATA, described),
        name if exact else None,
        *beside(path),
        None if exact else name,
        by_folder_name(path),
    )
    return Statements(
        sources=tuple(source for source in sources if source),
        class_lists=class_files(path),
        hinted_architecture=hinted_architecture(path),
    )


def _mm_config(own: Mapping[str, Any]) -> Statement | None:
    """Read the configuration that mmengine keeps as text or as a mapping."""
    # In `meta` first, where the runner of mmengine writes it.
    for entries in (as_entries(own.get("meta")) or {}, own):
        for key in ("cfg", "config"):
            value = entries.get(key)
            if isinstance(value, str):
                return read_mm_config(_MM_CONFIG, value)
            mapping = as_entries(value)
            if mapping and "model" in mapping and "test_pipeline" in mapping:
                return read_mm_entries(_MM_CONFIG, mapping)
    return None


def _decoded(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return metadata, whose values are texts, with those that are JSON decoded."""
    # safetensors has texts alone; what has a structure is put into them as JSON.
    decoded: dict[str, Any] = {}
    for key, text in metadata.items():
        decoded[key] = text
        if len(text) <= LARGEST_JSON:
            with suppress(ValueError):
                decoded[key] = parse_json(text)
    return decoded
