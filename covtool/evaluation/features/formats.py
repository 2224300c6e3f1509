"""Features and labels in files: safetensors, npz and CSV.

Each format is a pair of functions. The writers take features that need not lie in memory, and
never copy more than a block of them; the readers take what others wrote, too.
"""

import csv
import json
import math
import struct
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from covtool.checkpoints.other_files import LABELS_CHECKSUM_KEY
from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum, text_checksum
from covtool.checkpoints.tensor_files import tensors_in
from covtool.data.datasets.found_images import shown
from covtool.data.datasets.lists.csv_file import rows_of
from covtool.data.datasets.lists.text import checked_lines, opened_text, translate_list_errors
from covtool.documents import parse_json
from covtool.errors import ArgumentError, DataError
from covtool.printable import printable
from covtool.regular_files import MEBIBYTE, opened
from covtool.safetensors_header import LARGEST_HEADER

FEATURES = "features"
NAMES = "surrogateescape"  # names of files need not be text
COLUMNS = {"path": "paths", "identity": "identities", "camera": "cameras", "split": "splits"}
"""Labels of an image, and what they are called together in a file."""

_BLOCK = 4096
_LENGTH = struct.Struct("<Q")  # of a safetensors header, in front of it
_ALIGNMENT = 8
_DIGITS = 9  # enough to tell any two float32 apart

Columns = Mapping[str, Sequence[str]]
"""Labels of all images, by a name in `COLUMNS`."""

LONGEST_LINE = 64 * MEBIBYTE
"""Characters of a line of CSV: of an image with all its features."""

MOST_UNPACKED = 256 * MEBIBYTE
"""Bytes that a compressed array may always become."""

MOST_TIMES = 100
"""How many times the bytes of its file a larger array may become; features become 20."""


@dataclass(frozen=True, slots=True)
class FeatureFormat:
    """How features are written and read.

    Attributes:
        write: Function that writes features (N, D), float32, and labels of N images to a file.
        read: Function that reads a file's features, of any dtype, and its labels.
    """

    write: Callable[[Path, np.ndarray, Columns], None]
    read: Callable[[Path], tuple[Tensor, Columns]]


def write_safetensors(
    path: Path,
    features: np.ndarray,
    columns: Columns,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write one tensor, ``features``, and the labels as JSON lists in the metadata.

    The header is put together here because safetensors' own writer takes nothing but whole tensors
    in memory.

    Args:
        path: File to write.
        features: Features (N, D), float32.
        columns: Labels of the N images.
        more: Further entries of the metadata.

    Raises:
        DataError: The labels are more than a reader takes.
    """
    texts = {COLUMNS[name]: json.dumps(column) for name, column in columns.items()}
    header = {
        "__metadata__": {
            **more,
            **texts,
            LABELS_CHECKSUM_KEY: text_checksum(texts),
            CHECKSUM_KEY: checksum({FEATURES: torch.from_numpy(features)}),
        },
        FEATURES: {
            "dtype": "F32",
            "shape": features.shape,
            "data_offsets": [0, features.nbytes],
        },
    }
    text = json.dumps(header).encode()
    if len(text) + _ALIGNMENT > LARGEST_HEADER:
        raise DataError(
            f"The labels of {len(features):,} images take {len(text):,} bytes.",
            reason=f"A safetensors file has room for {LARGEST_HEADER:,} of them.",
            hint="Divide the images among several files, or give them shorter paths.",
        )
    text += b" " * (-len(text) % _ALIGNMENT)  # as safetensors' writer: tensors can be mapped
    with path.open("wb") as file:
        file.write(_LENGTH.pack(len(text)))
        file.write(text)
        for block in _blocks(features):
            file.write(block.astype("<f4", copy=False).data)


def read_safetensors(path: Path) -> tuple[Tensor, Columns]:
    """Read features and labels, which may be tensors of whole numbers under `COLUMNS`' names."""
    # A file of another program has no checksum; a wrong one means damage.
    tensors, metadata = tensors_in(path)
    _require_features(tensors)
    columns = columns_in(metadata)
    for name, plural in COLUMNS.items():
        if name not in columns and plural in tensors:
            labels = tensors[plural]  # NumPy has no bfloat16
            numbers = labels.float() if labels.is_floating_point() else labels
            columns[name] = _texts(numbers.numpy())
    return tensors[FEATURES], columns


def columns_in(metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the labels that stand in the metadata of a safetensors file.

    Raises:
        ValueError: They are no lists of labels, or not those that covtool wrote.
    """
    texts = {plural: metadata[plural] for plural in COLUMNS.values() if plural in metadata}
    if metadata.get(LABELS_CHECKSUM_KEY) not in (None, text_checksum(texts)):
        raise ValueError("Its labels are not those that covtool wrote.")
    return {
        name: _listed(plural, texts[plural]) for name, plural in COLUMNS.items() if plural in texts
    }


def write_npz(path: Path, features: np.ndarray, columns: Columns) -> None:
    """Write arrays ``features``, ``paths``, ``identities``, and so on, not compressed."""
    texts = {COLUMNS[name]: np.array(column) for name, column in columns.items()}
    with path.open("wb") as file:
        np.savez(file, features=features, **texts)


def read_npz(path: Path) -> tuple[Tensor, Columns]:
    """Read features and labels, which may be text or whole numbers; nothing pickled is read."""
    try:
        with opened(path) as stream, zipfile.ZipFile(stream) as archive:
            return _unpacked(archive, MOST_TIMES * path.stat().st_size)
    except (OSError, ValueError, MemoryError):
        raise
    except Exception as problem:  # of damaged bytes, zipfile, zlib and NumPy raise a dozen kinds
        raise ValueError(str(problem) or type(problem).__name__) from problem


def _unpacked(archive: zipfile.ZipFile, most: int) -> tuple[Tensor, Columns]:
    names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    _require_features(names)
    largest = max(MOST_UNPACKED, most)
    present = {name: names[plural] for name, plural in COLUMNS.items() if plural in names}
    columns = {name: _texts(_array(archive, info, largest)) for name, info in present.items()}
    return torch.from_numpy(_array(archive, names[FEATURES], largest)), columns


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, largest: int) -> np.ndarray:
    """Return an array of an npz file, once its header was held against the bytes that are there."""
    if info.file_size > largest:
        raise ValueError(f"{printable(info.filename)} claims to have {info.file_size:,} bytes.")
    # A few compressed bytes can claim any size: the header is read before memory is taken.
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        needed = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or needed > info.file_size - file.tell():
            raise ValueError(
                f"{printable(info.filename)} has {info.file_size:,} bytes, too few for its shape "
                f"{printable(str(shape))}."
            )
    # Pickled objects would run code of whoever wrote the file.
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def write_csv(path: Path, features: np.ndarray, columns: Columns) -> None:
    """Write a line for each image: its labels, then ``f0``, ``f1``, ...; float32 survives."""
    labels = zip(*columns.values(), strict=True) if columns else iter(())
    with path.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *(f"f{place}" for place in range(features.shape[1]))])
        for block in _blocks(features):
            for values in block.tolist():
                writer.writerow([*next(labels, ()), *(f"{x:.{_DIGITS}g}" for x in values)])


def read_csv(path: Path) -> tuple[Tensor, Columns]:
    """Read labels, and features from all other columns, in the order of the file."""
    values = array("f")  # four bytes a number while it grows; a list of floats takes 32
    with translate_list_errors(path), opened_text(path, errors=NAMES) as text:
        rows = rows_of(checked_lines(text, longest=LONGEST_LINE))
        names = [name.strip() for name in next(rows, (0, []))[1]]
        columns = {name: [] for name in COLUMNS if name in names}
        numeric = [place for place, name in enumerate(names) if name not in COLUMNS]
        _require_numeric(path, names, numeric)
        places = {name: names.index(name) for name in columns}
        for line, row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise DataError(
                    f"{path}, line {line}, has {len(row)} cells, not {len(names)}.",
                    reason="The file may be cut off.",
                )
            values.extend(_number(path, line, row[place]) for place in numeric)
            for name, column in columns.items():
                column.append(row[places[name]].strip())
    if not values:
        raise DataError(f"{path} lists no images.")
    # `array` and tensor share the memory: no second copy of all features.
    features = torch.from_numpy(np.frombuffer(values, dtype=np.float32))
    return features.reshape(-1, len(numeric)), columns


def _require_numeric(path: Path, names: Sequence[str], numeric: Sequence[int]) -> None:
    if not numeric:
        raise DataError(
            f"{path} has no columns of features.",
            hint=f"The first line should read {','.join(COLUMNS)},f0,f1,f2 and so on.",
        )
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise DataError(f"{path} has the column {twice[0]} more than once.")


FORMATS = {
    ".safetensors": FeatureFormat(write_safetensors, read_safetensors),
    ".npz": FeatureFormat(write_npz, read_npz),
    ".csv": FeatureFormat(write_csv, read_csv),
}
"""By the suffix of the file."""

INDEX_SUFFIX = ".index"
"""Of a file that `covtool index` wrote: features in safetensors, and the model that they are of."""


def readable_format_of(path: Path) -> FeatureFormat:
    """Return the format of a file of features, also of an index, which only its own writer writes.

    Raises:
        ArgumentError: There is none of that suffix.
    """
    is_index = path.suffix.lower() == INDEX_SUFFIX
    return FORMATS[".safetensors"] if is_index else format_of(path)


def format_of(path: Path) -> FeatureFormat:
    """Return the format that the name of a file of features to be written stands for.

    Raises:
        ArgumentError: There is none of that suffix.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise ArgumentError(
            f"{path} is not the name of a file of features.",
            hint=f"Its name must end in one of {', '.join(FORMATS)}.",
        ) from None


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(features), _BLOCK):
        yield np.ascontiguousarray(features[start : start + _BLOCK])


def _require_features(names: Iterable[str]) -> None:
    names = sorted(names)
    if FEATURES not in names:
        raise ValueError(f"It has no {FEATURES!r}, but: {shown(names) or 'nothing'}.")


def _listed(plural: str, text: str) -> list[str]:
    values = parse_json(text)
    if not isinstance(values, list) or not all(isinstance(v, str | int) for v in values):
        raise ValueError(f"Its {plural} are not a list of texts or whole numbers.")
    return [str(value) for value in values]


def _texts(values: np.ndarray) -> list[str]:
    if values.ndim != 1 or values.dtype.kind not in "iuUS":
        raise ValueError("Its labels are neither texts nor whole numbers, one for each image.")
    return values.astype(str).tolist()


def _number(path: Path, line: int, text: str) -> float:
    try:
        if "_" in text:  # which Python would take for a number in its own spelling
            raise ValueError
        return float(text)
    except ValueError:
        shown_text = printable(text, longest=50)
        raise DataError(f"{path}, line {line}: {shown_text!r} is not a number.") from None
