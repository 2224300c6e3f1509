"""Large data sets, as timm calls them: ``wds/FOLDER`` of tar files, ``hfds/NAME`` of Hugging Face.

Tar files are gone through once, for where the images are in them. timm's reader, which needs the
extra ``covtool[hf]``, reads what Hugging Face stores.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from timm.data import create_reader

from covtool.data.datasets.folders.names import SPLIT_NAMES, exact_split
from covtool.data.datasets.layout import DataLayout, canonical_splits
from covtool.data.datasets.lists.text import lines_of
from covtool.data.datasets.places import RecordSource, require_folder_of
from covtool.data.datasets.records.records import ReaderArchive, Records
from covtool.data.datasets.records.shards import LeftOut, images_in, indexed
from covtool.documents import parse_json
from covtool.errors import ArgumentError, CovtoolError, DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import read_text

INFO_FILES = ("_info.json", "info.json")
CLASS_NAMES = "classes.txt"


def scan_records(source: RecordSource) -> DataLayout:
    """Read a data set of records.

    Raises:
        ArgumentError: The package that reads it is not installed.
        DataError: It is not there, damaged, or has no labels.
    """
    found, names, notes = READ[source.kind](source)
    found = {
        split: records for split, records in found.items() if len(records) and exact_split(split)
    }
    split_names = canonical_splits(found)
    if not split_names:
        raise DataError(
            f"There are no labeled images in {source}.",
            reason=f"Splits are called {', '.join(SPLIT_NAMES)}.",
        )
    return DataLayout(
        root=source.root,
        kind=source.kind,
        class_names=names,
        splits=MappingProxyType({key: found[own] for key, own in split_names.items()}),
        split_names=MappingProxyType(split_names),
        notes=notes,
    )


def image_records(source: RecordSource) -> Records:
    """Return all images of a data set of records, with labels or without.

    Raises:
        ArgumentError: The package that reads it is not installed.
        DataError: It is not there or damaged; or it is of Hugging Face and has several splits.
    """
    if source.kind == "wds":
        return images_in(_all_shards(source))
    splits = scan_records(source).splits
    if len(splits) > 1:
        raise DataError(
            f"{source} has several splits: {', '.join(splits)}.",
            reason="Images without labels are read from tar files: wds/FOLDER.",
        )
    return next(iter(splits.values()))


def _all_shards(source: RecordSource) -> list[Path]:
    require_folder_of(source)
    files = sorted(source.root.glob("*.tar"))
    if not files:
        raise DataError(f"{source.root} holds no tar files.")
    return files


Found = tuple[Mapping[str, Records], tuple[str, ...], tuple[str, ...]]
"""Images by split as the data set calls it, the names of the classes, and notes."""

Shards = dict[str, tuple[list[Path], str]]
"""By split the tar files, and the field of the JSON that holds the label; empty for ``.cls``."""


def _read_shards(source: RecordSource) -> Found:
    require_folder_of(source)
    info = next((source.root / name for name in INFO_FILES if (source.root / name).exists()), None)
    shards = _shards_by_name(source) if info is None else _shards_by_info(info)
    found, notes = {}, []
    for split, (files, label) in shards.items():
        left_out = LeftOut()
        found[split] = indexed(files, label, left_out)
        notes += left_out.notes(split)
    return found, _class_names(source.root, _num_classes(found)), tuple(notes)


def _num_classes(found: Mapping[str, Records]) -> int:
    return max((int(r.labels.max()) + 1 for r in found.values() if len(r)), default=0)


def _shards_by_info(info: Path) -> Shards:
    """Read the splits from the file that describes the data set, in timm's format."""
    try:
        splits = parse_json(read_text(info))["splits"]
        return {
            split: ([info.parent / name for name in _names_of(row)], _field_of(row))
            for split, row in splits.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
        reason = f"{'It has no ' * isinstance(problem, LookupError)}{reason_of(problem)}"
        raise DataError(f"{info} does not describe the splits.", reason=reason) from problem


def _names_of(row: Mapping[str, Any]) -> list[str]:
    names = row["filenames"]
    if not isinstance(names, list) or not names:
        raise ValueError("A split has no list of the names of its tar files.")
    return [_name_of(name) for name in names]


def _name_of(shard: Any) -> str:
    """Return the name of a tar file, after a check that it is in the data set's folder."""
    if not isinstance(shard, str) or "\0" in shard:
        raise ValueError(f"{shard!r} is not a name of a file.")
    # The file may come from elsewhere: ``..`` would read other files, ``pipe:`` is a command to
    # WebDataset, and C: a drive.
    if ":" in shard or Path(shard).is_absolute() or ".." in Path(shard).parts:
        raise ValueError(f"{shard!r} is not a file below the folder.")
    return shard


def _field_of(row: Mapping[str, Any]) -> str:
    name = row.get("alt_label") or ""
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not a field of a label.")
    return name


def _shards_by_name(source: RecordSource) -> Shards:
    """Find the tar files of each split by their names: ``train-000.tar``."""
    files = sorted(source.root.glob("*.tar"))
    by_split = {
        name: [file for file in files if file.name.lower().startswith(f"{name}-")]
        for name in SPLIT_NAMES
    }
    found = {name: (shards, "") for name, shards in by_split.items() if shards}
    if not found:
        raise DataError(
            f"{source.root} holds no tar files of a split.",
            hint="They are called like train-000.tar and val-000.tar, or an _info.json lists them.",
        )
    return found


def _class_names(root: Path, count: int) -> tuple[str, ...]:
    """Return the names in classes.txt, a line each; without it, the numbers of the classes."""
    file = root / CLASS_NAMES
    if not file.exists():
        return tuple(str(number) for number in range(count))
    names = tuple(lines_of(file))  # there may be more than labels: classes without images here
    if len(names) < count:
        raise DataError(f"{file} names {len(names)} classes, but there are {count}.")
    return names


def _reader(source: RecordSource, split: str) -> Any:
    try:
        return create_reader(f"hfds/{source.name}", root=None, split=split)
    except (ImportError, RuntimeError) as problem:
        # With that word it is about a missing package.
        if isinstance(problem, RuntimeError) and "install" not in str(problem):
            raise
        raise _no_datasets(source) from problem


def _no_datasets(source: RecordSource) -> ArgumentError:
    return ArgumentError(
        f"{source} needs the package datasets, which is not installed.",
        hint="Install it: pip install 'covtool[hf]'.",
    )


def _read_hugging_face(source: RecordSource) -> Found:
    try:
        from datasets import get_dataset_split_names

        splits = get_dataset_split_names(source.name)
        readers = {split: _reader(source, split) for split in splits}
    except ImportError as problem:
        raise _no_datasets(source) from problem
    except CovtoolError:
        raise
    except Exception as problem:  # it raises errors of many types on a damaged data set
        reason = printable((str(problem) or type(problem).__name__).splitlines()[0])
        raise DataError(f"{source} cannot be read.", reason=reason) from problem
    found = {split: _labeled(f"{source}/{split}", reader) for split, reader in readers.items()}
    named = next(iter(readers.values())).class_to_idx
    names = tuple(sorted(named, key=named.get)) or tuple(map(str, range(_num_classes(found))))
    return found, names, ()


def _labeled(name: str, reader: Any) -> Records:
    labels = np.fromiter(reader.iter_targets(), np.int64, len(reader))
    records = Records.all_of(ReaderArchive(name, reader), labels)
    return records.only(np.flatnonzero(labels >= 0))  # a test split without labels has -1


READ: dict[str, Callable[[RecordSource], Found]] = {"wds": _read_shards, "hfds": _read_hugging_face}
