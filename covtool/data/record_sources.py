"""Large data sets, as timm calls them: ``wds/FOLDER`` of tar files, ``hfds/NAME`` of Hugging Face.

timm's readers, which need the extras ``covtool[wds]`` and ``covtool[hf]``, say which tar files
belong to a split and read what Hugging Face stores. Tar files are gone through once, for where the
images are in them.
"""

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from timm.data import create_reader

from covtool.data.folder_names import SPLIT_NAMES, split_called
from covtool.data.image_formats import image_suffixes
from covtool.data.layouts import DataLayout, canonical
from covtool.data.records import ReaderArchive, Records, TarArchive
from covtool.errors import ArgumentError, CovtoolError, DataError
from covtool.full_paths import in_full

INFO_FILES = ("_info.json", "info.json")
CLASS_NAMES = "classes.txt"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # looked for before others that images have
LABEL = ".cls"
META = ".json"


@dataclass(frozen=True, slots=True)
class RecordSource:
    """A data set of records.

    Attributes:
        kind: ``wds`` or ``hfds``.
        name: A folder, or for ``hfds`` perhaps a name.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.name)


def record_source(text: str | Path) -> RecordSource | None:
    """What ``wds/...`` or ``hfds/...`` means; None where something is at that very path.

    A path that does not exist is tried from the root: `Path` makes one slash of ``wds//data``.
    """
    kind, _, name = str(text).partition("/")
    if kind not in READ or not name or Path(text).exists():
        return None
    if not Path(name).exists() and Path("/", name).exists():
        name = str(Path("/", name))
    return RecordSource(kind, str(in_full(name)) if Path(name).exists() else name)


def scan_records(source: RecordSource) -> DataLayout:
    """The images of a data set of records, by split.

    Raises:
        ArgumentError: The package that reads it is not installed.
        DataError: It is not there, damaged, or has no labels.
    """
    found, names = READ[source.kind](source)
    found = {
        split: records for split, records in found.items() if len(records) and split_called(split)
    }
    called = canonical(found)
    if not called:
        raise DataError(
            f"There are no labeled images in {source}.",
            reason=f"Splits are called {', '.join(SPLIT_NAMES)}.",
        )
    return DataLayout(
        root=source.root,
        kind=source.kind,
        class_names=names,
        splits=MappingProxyType({key: found[own] for key, own in called.items()}),
        called=MappingProxyType(called),
    )


Found = tuple[Mapping[str, Records], tuple[str, ...]]
"""Images by split as the data set calls it, and the names of the classes."""


def _read_shards(source: RecordSource) -> Found:
    if not source.root.is_dir():
        raise DataError(f"There is no folder {source.root}.", hint="Check the path.")
    info = next((source.root / name for name in INFO_FILES if (source.root / name).exists()), None)
    shards = _shards_by_name(source) if info is None else _shards_by_info(source, info)
    found = {split: _indexed(files, label) for split, (files, label) in shards.items()}
    count = max((int(r.labels.max()) + 1 for r in found.values() if len(r)), default=0)
    return found, _class_names(source.root, count)


Shards = dict[str, tuple[list[Path], str]]
"""By split the tar files, and the field of the JSON that holds the label; empty for ``.cls``."""


def _shards_by_info(source: RecordSource, info: Path) -> Shards:
    """What timm's reader makes of the file that describes the data set."""
    try:
        splits = list(json.loads(info.read_text())["splits"])
        readers = {split: _reader(f"wds/{source.root.name}", source, split) for split in splits}
    except CovtoolError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{info} does not describe the splits.", reason=str(problem)) from problem
    return {
        split: (
            [source.root / name for name in reader.split_info.filenames],
            reader.split_info.alt_label,
        )
        for split, reader in readers.items()
    }


def _shards_by_name(source: RecordSource) -> Shards:
    """Without such a file: ``train-000.tar`` belongs to ``train``."""
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


def _reader(name: str, source: RecordSource, split: str) -> Any:
    package, extra = {"wds": ("webdataset", "wds"), "hfds": ("datasets", "hf")}[source.kind]
    try:
        return create_reader(name, root=source.name if source.kind == "wds" else None, split=split)
    except (ImportError, RuntimeError) as problem:
        if isinstance(problem, RuntimeError) and "install" not in str(problem):
            raise
        raise ArgumentError(
            f"{source} needs the package {package}, which is not installed.",
            hint=f"Install it: pip install 'covtool[{extra}]'.",
        ) from problem


def _indexed(shards: list[Path], label_field: str) -> Records:
    """Go through tar files once; keep where each labeled image is."""
    tables = [
        np.array(list(_labeled_images(shard, label_field)), dtype=np.int64).reshape(-1, 3)
        for shard in shards
    ]
    numbers = np.repeat(np.arange(len(shards)), [len(table) for table in tables])
    offsets, sizes, labels = np.concatenate(tables).T
    return Records.all_of(TarArchive(shards, numbers, offsets, sizes), labels)


def _labeled_images(shard: Path, label_field: str) -> Iterator[tuple[int, int, int]]:
    """Offset, size and label of each image; those with a negative label are left out."""
    try:
        with tarfile.open(shard, "r:") as tar:
            for key, parts in _grouped(tar):
                image = _image_of(parts)
                if image is None:
                    continue
                label = _label(tar, key, parts, label_field)
                if label >= 0:
                    yield image.offset_data, image.size, label
    except (OSError, tarfile.TarError, ValueError) as problem:
        raise DataError(f"{shard} cannot be read.", reason=str(problem)) from problem


def _image_of(parts: dict[str, tarfile.TarInfo]) -> tarfile.TarInfo | None:
    others = (suffix for suffix in parts if suffix in image_suffixes())
    return next((parts[s] for s in (*SUFFIXES, *others) if s in parts), None)


def _grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """The files of each sample, which follow each other and differ in what is behind a dot."""
    key, parts = None, {}
    for member in tar:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        if key != f"{folder}/{stem}":
            if parts:
                yield key, parts
            key, parts = f"{folder}/{stem}", {}
        parts[f".{suffix.lower()}"] = member
        tar.members = []  # it keeps them all otherwise
    if parts:
        yield key, parts


def _label(
    tar: tarfile.TarFile, key: str, parts: dict[str, tarfile.TarInfo], label_field: str
) -> int:
    kind = META if label_field else LABEL
    if kind not in parts:
        raise ValueError(f"The image {key.lstrip('/')} has no label, which {kind} would hold.")
    text = tar.extractfile(parts[kind]).read()
    return int(json.loads(text)[label_field] if label_field else text)


def _class_names(root: Path, count: int) -> tuple[str, ...]:
    """Those of classes.txt, a line each; else the numbers of the classes."""
    file = root / CLASS_NAMES
    if not file.exists():
        return tuple(str(number) for number in range(count))
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line)
    if len(names) < count:
        raise DataError(f"{file} names {len(names)} classes, but there are {count}.")
    return names


def _read_hugging_face(source: RecordSource) -> Found:
    try:
        from datasets import get_dataset_split_names

        splits = get_dataset_split_names(source.name)
        readers = {split: _reader(f"hfds/{source.name}", source, split) for split in splits}
    except ImportError as problem:
        raise ArgumentError(
            f"{source} needs the package datasets, which is not installed.",
            hint="Install it: pip install 'covtool[hf]'.",
        ) from problem
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(
            f"{source} cannot be read.", reason=str(problem).splitlines()[0]
        ) from problem
    found = {split: _labeled(f"{source}/{split}", reader) for split, reader in readers.items()}
    named = next(iter(readers.values())).class_to_idx
    count = max((int(r.labels.max()) + 1 for r in found.values() if len(r)), default=0)
    names = tuple(sorted(named, key=named.get)) or tuple(str(n) for n in range(count))
    return found, names


def _labeled(name: str, reader: Any) -> Records:
    labels = np.fromiter(reader.iter_targets(), np.int64, len(reader))
    records = Records.all_of(ReaderArchive(name, reader), labels)
    return records.only(np.flatnonzero(labels >= 0))  # those to be predicted are -1


READ: dict[str, Callable[[RecordSource], Found]] = {"wds": _read_shards, "hfds": _read_hugging_face}
