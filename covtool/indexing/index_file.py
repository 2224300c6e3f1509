"""Files of indices: features and labels in safetensors, with a record of the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from covtool import __version__
from covtool.checkpoints.model_file import RECIPE_KEY
from covtool.checkpoints.other_files import RECORD_KEY
from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum, text_checksum
from covtool.checkpoints.tensor_files import tensors_in
from covtool.documents import parse_json
from covtool.errors import DataError, reason_of
from covtool.evaluation.features.files import FeatureWriter, labels_of
from covtool.evaluation.features.formats import (
    FEATURES,
    INDEX_SUFFIX,
    Columns,
    FeatureFormat,
    columns_in,
    read_safetensors,
    write_safetensors,
)
from covtool.evaluation.features.table import FeatureTable, ImageLabels
from covtool.indexing.index_record import VERSION, IndexRecord
from covtool.indexing.places import no_index
from covtool.printable import printable
from covtool.safetensors_header import Header, HeaderError, read_header
from covtool.specs.problems import first_problem

RECORD_CHECKSUM_KEY = "covtool.index.sha256"
"""Where the metadata keep a checksum of the record."""


class FileState(NamedTuple):
    """What changes when a file is replaced: number on the disk, size, time in nanoseconds."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the state of a file.

        Raises:
            OSError: There is none.
        """
        found = path.stat()
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """An index in memory.

    Attributes:
        path: Its file.
        record: Model, threshold and inverted file.
        features: Features of its images, shape (N, D).
        labels: Labels of its images; paths are relative to the record's folder.
        state: State of the file when it was read.
    """

    path: Path
    record: IndexRecord
    features: Tensor
    labels: tuple[ImageLabels, ...]
    state: FileState

    def __len__(self) -> int:
        return len(self.labels)


def is_index_name(path: Path) -> bool:
    """Return whether a name is that of an index."""
    return path.suffix.lower() == INDEX_SUFFIX


def read_record(path: Path) -> IndexRecord:
    """Return what an index says about itself; no feature is read.

    Raises:
        DataError: There is no such file, it is damaged, or it is no index.
    """
    try:
        header = read_header(path)
    except FileNotFoundError as problem:
        raise no_index(path) from problem
    except HeaderError as problem:
        if is_index_name(path):
            raise _damaged(path, reason_of(problem)) from problem
        raise DataError(
            f"{path} is not an index, nor any other file of safetensors.",
            hint="covtool index MODEL IMAGES -o gallery.index makes one.",
        ) from problem
    except OSError as problem:
        raise DataError(f"The index {path} cannot be read.", reason=reason_of(problem)) from problem
    text = header.metadata.get(RECORD_KEY)
    if text is None or FEATURES not in header.entries:
        raise DataError(
            f"{path} is not an index.",
            reason=_what_it_is(header),
            hint=f"covtool index {path if RECIPE_KEY in header.metadata else 'MODEL'} IMAGES "
            "-o gallery.index makes one.",
        )
    if header.metadata.get(RECORD_CHECKSUM_KEY) != text_checksum({RECORD_KEY: text}):
        raise _damaged(path, "What it says about itself is not what covtool wrote.")
    try:
        values = parse_json(text)
    except ValueError as problem:
        raise _damaged(path, reason_of(problem)) from problem
    _require_known_version(path, values)
    try:
        return IndexRecord.model_validate(values)
    except ValidationError as problem:
        raise _damaged(path, f"{first_problem(problem)}.") from problem


def _require_known_version(path: Path, values: Any) -> None:
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > VERSION:
        writer = printable(str(values.get("covtool_version")), longest=50)
        raise DataError(
            f"The index {path} is of version {version}, and this covtool reads version {VERSION}.",
            reason=f"covtool {writer} wrote it; this is {__version__}.",
            hint="Use that covtool, or make the index again.",
        )


def _what_it_is(header: Header) -> str:
    if RECIPE_KEY in header.metadata:
        return "It is a model."
    if FEATURES in header.entries:
        return "It does not say which model its features are of."
    return "It holds no features."


def read_index(path: Path, *, mapped: bool = False) -> Index:
    """Return an index, once its features and labels are those that were written.

    Args:
        path: The file.
        mapped: Whether the features stay on the disk; a file that is cut short meanwhile then ends
            the process.

    Raises:
        DataError: There is no such file, it is damaged, it is no index, or it was replaced while
            it was being read.
    """
    record = read_record(path)
    try:
        state = FileState.of(path)
        header = read_header(path)
        features = _map_features(path, header) if mapped else tensors_in(path)[0][FEATURES]
        columns = columns_in(header.metadata)
        is_same = FileState.of(path) == state and read_record(path) == record
    except (OSError, ValueError) as problem:
        raise DataError(f"The index {path} cannot be read.", reason=reason_of(problem)) from problem
    if not is_same:
        raise DataError(
            f"{path} was replaced while it was being read.", hint="Give the command again."
        )
    if features.ndim != 2 or any(len(column) != len(features) for column in columns.values()):
        raise _damaged(path, "Its features and labels are not of the same images.")
    table = FeatureTable(features=features, labels=labels_of(columns, len(features)))
    return Index(
        path=path, record=record, features=table.features, labels=table.labels, state=state
    )


def _map_features(path: Path, header: Header) -> Tensor:
    entry = header.entries[FEATURES]
    if entry.dtype != "F32" or not entry.end:
        raise HeaderError("Its features are not float32.")
    offset = header.start + entry.start
    # Copied on write, and never written to: torch warns about read-only memory.
    values = np.memmap(path, "<f4", mode="c", offset=offset, shape=entry.shape)
    features = torch.from_numpy(values)
    if header.metadata.get(CHECKSUM_KEY) != checksum({FEATURES: features}):
        raise HeaderError("Its features are not those that covtool wrote.")
    return features


def index_writer(
    path: Path, record: "RecordInTheMaking", *, overwrite: bool = False
) -> FeatureWriter:
    """Return a writer of an index; its record is taken when all images are there.

    Raises:
        ArgumentError: The file cannot be written.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """

    def write(file: Path, features: np.ndarray, columns: Columns) -> None:
        write_safetensors(file, features, columns, _metadata(record.finished))
        if record.replaces is not None:
            _require_unchanged(path, record.replaces)

    return FeatureWriter(
        path, overwrite=overwrite, format=FeatureFormat(write=write, read=read_safetensors)
    )


@dataclass(slots=True, kw_only=True)
class RecordInTheMaking:
    """A record that is known only once the features are.

    Attributes:
        finished: The record; None before.
        replaces: State of the file that is changed, which must still be that one at the end.
    """

    finished: IndexRecord | None = None
    replaces: FileState | None = None


def _metadata(record: IndexRecord | None) -> dict[str, str]:
    assert record is not None, "the record comes before the file"
    text = record.model_dump_json()
    return {RECORD_KEY: text, RECORD_CHECKSUM_KEY: text_checksum({RECORD_KEY: text})}


def _require_unchanged(path: Path, state: FileState) -> None:
    try:
        is_same = FileState.of(path) == state
    except OSError:
        is_same = False
    if not is_same:
        raise DataError(
            f"{path} was changed by another program meanwhile; it stays as it is now.",
            hint="Give the command again.",
        )


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"The index {path} is damaged.", reason=reason, hint="Make it again.")
