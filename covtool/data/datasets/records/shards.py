"""Places and labels of the images in tar files in the format of WebDataset."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from covtool.data.datasets.found_images import counted
from covtool.data.datasets.records.records import Records, TarArchive, states_of
from covtool.data.datasets.records.tar_members import Member, Passed, bytes_of, members
from covtool.data.images.formats import image_suffixes
from covtool.documents import parse_json
from covtool.errors import DataError
from covtool.printable import printable
from covtool.regular_files import opened

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # looked for before others that images have
LABEL = ".cls"
META = ".json"

MOST_CLASSES = 1_000_000
"""Classes of a data set that numbers them: a label is below this."""

LONGEST_LABEL = 1 << 20
"""Bytes of a member that holds a label."""

_WHOLE = re.compile(r"[+-]?\d{1,18}")

Parts = dict[str, Member]
"""Members of a sample by their suffix: images and the label."""

Row = tuple[int, int, int]
"""Offset, size and label of an image."""


@dataclass(slots=True)
class LeftOut:
    """Counts of the content of tar files that is not used.

    Attributes:
        unlabeled: Images whose label is negative.
        without_image: Labels without an image.
        links: Links and devices.
        absolute: Names that begin with a slash, whose images are used.
    """

    unlabeled: int = 0
    without_image: int = 0
    links: list[str] = field(default_factory=list)
    absolute: int = 0

    def notes(self, split: str) -> Iterator[str]:
        """Yield notes on it."""
        if self.unlabeled:
            count = counted(self.unlabeled, "image")
            yield f"{count} of {split!r} with a negative label left out."
        if self.without_image:
            count = counted(self.without_image, "label")
            yield f"{count} of {split!r} without an image left out."
        if self.links:
            count, first = counted(len(self.links), "link"), printable(self.links[0])
            yield f"{count} (or devices) in the tar files of {split!r} left out, like {first}."
        if self.absolute:
            count = counted(self.absolute, "name")
            yield f"{count} in the tar files of {split!r} are absolute: the slash is ignored."


def indexed(shards: list[Path], label_field: str, left_out: LeftOut) -> Records:
    """Go through tar files once, and index their labeled images.

    Args:
        shards: The files.
        label_field: The field of the JSON that holds the label; empty for ``.cls``.
        left_out: Counts of unused content, which are increased.

    Raises:
        DataError: A file cannot be read, see `members`, or an image has no label.
    """
    states = states_of(shards)  # before they are read: what changes meanwhile is another file
    tables = [
        np.array(list(_labeled_images(shard, label_field, left_out)), dtype=np.int64).reshape(-1, 3)
        for shard in shards
    ]
    numbers = np.repeat(np.arange(len(shards)), [len(table) for table in tables])
    # The empty table is for no shards at all, which concatenate refuses.
    offsets, sizes, labels = np.concatenate([*tables, np.empty((0, 3), np.int64)]).T
    return Records.all_of(TarArchive(shards, numbers, offsets, sizes, states), labels)


def images_in(shards: list[Path]) -> Records:
    """Go through tar files once, and index all their images, whose labels do not matter.

    Raises:
        DataError: A file cannot be read, see `members`.
    """
    tables = [
        np.array(
            [
                (image.offset, image.size)
                for _, parts in _samples(shard, "", LeftOut())
                if (image := _image_of(parts)) is not None
            ],
            dtype=np.int64,
        ).reshape(-1, 2)
        for shard in shards
    ]
    numbers = np.repeat(np.arange(len(shards)), [len(table) for table in tables])
    offsets, sizes = np.concatenate([*tables, np.empty((0, 2), np.int64)]).T
    archive = TarArchive(shards, numbers, offsets, sizes)
    return Records.all_of(archive, np.zeros(len(numbers), np.int64))


def _labeled_images(shard: Path, label_field: str, left_out: LeftOut) -> Iterator[Row]:
    kind = META if label_field else LABEL
    for key, parts in _samples(shard, kind, left_out):
        image = _image_of(parts)
        if image is None:
            left_out.without_image += kind in parts
            continue
        try:
            label = _label(shard, parts.get(kind), label_field)
        except ValueError as problem:
            reason = f"The image {printable(key.strip('/'))} {problem}"
            raise DataError(f"{shard} cannot be read.", reason=reason) from problem
        if label >= 0:
            yield image.offset, image.size, label
        else:
            left_out.unlabeled += 1


def _image_of(parts: Parts) -> Member | None:
    others = (suffix for suffix in parts if suffix in image_suffixes())
    return next((parts[s] for s in (*SUFFIXES, *others) if s in parts), None)


def _samples(shard: Path, kind: str, left_out: LeftOut) -> Iterator[tuple[str, Parts]]:
    """Yield each sample's files, which follow each other and share all before the first dot."""
    key, parts = None, {}
    for member in members(shard):
        if isinstance(member, Passed):
            left_out.links.append(member.name)
            continue
        left_out.absolute += member.name.startswith("/")
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")  # at the first dot, as WebDataset does
        if key != f"{folder}/{stem}":
            if parts:
                yield key, parts
            key, parts = f"{folder}/{stem}", {}
        suffix = f".{suffix.lower()}"
        if suffix == kind or suffix in image_suffixes():
            if suffix in parts:
                name = printable(member.name)
                raise DataError(f"{shard} cannot be read.", reason=f"It holds {name} twice.")
            parts[suffix] = member
    if parts:
        yield key, parts


def _label(shard: Path, holder: Member | None, label_field: str) -> int:
    kind = META if label_field else LABEL
    if holder is None:
        raise ValueError(f"has no label, which {kind} would hold.")
    if holder.size > LONGEST_LABEL:
        raise ValueError(f"has a {kind} of {holder.size:,} bytes, too many for a label.")
    with opened(shard) as file:
        text = _text(file, holder)
    return _number(_field(text, label_field) if label_field else text)


def _text(file: BinaryIO, holder: Member) -> str:
    try:
        return bytes_of(file, holder).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ValueError("has a label that is not text in UTF-8.") from problem


def _field(text: str, name: str) -> Any:
    try:
        found = parse_json(text)
    except ValueError as problem:
        raise ValueError(f"has a label that cannot be read: {problem}") from problem
    if not isinstance(found, dict) or name not in found:
        raise ValueError(f"has no field {printable(name)!r} in its {META}.")
    return found[name]


def _number(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # A bool is an int to Python, but no label.
    text = str(value).strip() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        raise ValueError(f"has the label {printable(repr(value), longest=50)}, not a whole number.")
    number = int(text)
    if number >= MOST_CLASSES:
        raise ValueError(f"has the label {number:,}; labels count from 0 to {MOST_CLASSES - 1:,}.")
    return number
