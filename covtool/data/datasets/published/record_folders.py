"""Folders of tar files and of tables, read as ``wds/`` and ``hfds/``."""

from dataclasses import replace
from pathlib import Path

from covtool.data.datasets.folders.names import SPLIT_NAMES
from covtool.data.datasets.layout import DataLayout
from covtool.full_paths import in_full
from covtool.specs.layout import LayoutSpec


def holds_shards(root: Path) -> bool:
    """Return whether tar files are named by splits, or a file describes them."""
    from covtool.data.datasets.records.sources import INFO_FILES  # slow: torch and timm

    names = [file.name.lower() for file in root.glob("*.tar")]
    by_name = any(name.startswith(f"{split}-") for name in names for split in SPLIT_NAMES)
    return by_name or any((root / name).is_file() for name in INFO_FILES)


def read_shards(root: Path, choice: LayoutSpec) -> DataLayout:
    """Read tar files in the format of WebDataset; see `scan_records`."""
    return _as("wds", root)


def read_tables(root: Path, choice: LayoutSpec) -> DataLayout:
    """Read Parquet files of Hugging Face; see `scan_records`."""
    return _as("hfds", root)


def _as(kind: str, root: Path) -> DataLayout:
    from covtool.data.datasets.records.sources import RecordSource, scan_records

    layout = scan_records(RecordSource(kind, str(in_full(root))))
    return replace(layout, notes=(f"The same as --data {kind}/{root}.", *layout.notes))
