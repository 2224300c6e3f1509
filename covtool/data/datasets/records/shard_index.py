"""Where the images of tar files are, kept in a file: a resumed run does not go through them again.

The index is used as long as every tar file has the size and the time of its last change that it had
when it was gone through; else it is none. What is in it is compared with a digest of its own.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from covtool.atomic import written_whole
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.records import Records, TarArchive
from covtool.safetensors_header import read_header

FORM = "covtool.shards.1"
COLUMNS = ("shard", "offsets", "sizes", "labels", "rows")


def write_shard_index(file: Path, layout: DataLayout) -> None:
    """Write where the images of a data set of tar files are.

    Args:
        file: The index, replaced if it is there.
        layout: The data set, whose kind is ``wds``.
    """
    columns, splits = {}, {}
    for key, records in layout.splits.items():
        archive = records.archive
        values = (*archive.columns, records.labels, records.rows)
        columns |= {f"{key}.{name}": v for name, v in zip(COLUMNS, values, strict=True)}
        names = [shard.relative_to(layout.root).as_posix() for shard in archive.shards]
        splits[key] = {"own": layout.split_names[key], "shards": names, "states": archive.states}
    about = json.dumps({"class_names": layout.class_names, "splits": splits})
    metadata = {"form": FORM, "about": about, "digest": _digest(about, columns)}
    with written_whole(file) as temporary:
        save_file(columns, temporary, metadata)


def read_shard_index(file: Path, root: Path) -> DataLayout | None:
    """Return the data set of an index; None where there is none that is true of its tar files.

    Args:
        file: The index.
        root: Folder of the tar files, which may have moved.
    """
    try:
        read_header(file)  # which refuses what safetensors would take memory or time for
        with safe_open(file, "np") as content:
            metadata = content.metadata() or {}
            columns = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        about = metadata["about"]
        if metadata["form"] != FORM or metadata["digest"] != _digest(about, columns):
            return None
        described = json.loads(about)
        splits = {
            key: _records(root, key, one, columns) for key, one in described["splits"].items()
        }
    except (OSError, ValueError, LookupError, TypeError, SafetensorError):
        return None
    return DataLayout(
        root=root,
        kind="wds",
        class_names=tuple(described["class_names"]),
        splits=MappingProxyType(splits),
        split_names=MappingProxyType({k: v["own"] for k, v in described["splits"].items()}),
    )


def _records(
    root: Path, key: str, described: Mapping[str, Any], columns: Mapping[str, np.ndarray]
) -> Records:
    shard, offsets, sizes, labels, rows = (columns[f"{key}.{name}"] for name in COLUMNS)
    archive = TarArchive([root / name for name in described["shards"]], shard, offsets, sizes)
    if archive.states != tuple(map(tuple, described["states"])):
        raise ValueError("a tar file has changed")
    return Records(archive, labels, rows)


def _digest(about: str, columns: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(columns):
        digest.update(f"\0{name} {columns[name].dtype} ".encode())
        digest.update(np.ascontiguousarray(columns[name]).data)
    return digest.hexdigest()
