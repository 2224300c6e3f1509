"""Images that have no file of their own: in a tar file, or in a data set of Hugging Face.

Of each image nothing is held in memory but where it is and its label, some twenty bytes. They can
be read in any order, so that everything works that works with files: orders that follow from the
seed, exact resuming, several processes, caches.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import stat_result
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from covtool.data.datasets.samples import Sample
from covtool.regular_files import opened


class Archive(Protocol):
    """What images are in."""

    def __len__(self) -> int:
        """Return images in it."""

    def name(self, index: int) -> str:
        """Of an image, for people; no other image in it has the same."""

    def open(self, index: int) -> BinaryIO:
        """Return the bytes of an image."""

    def state(self, index: int) -> stat_result:
        """Of the file that an image is in."""

    @property
    def identity(self) -> str:
        """Tells this archive from others, and from what it was before it changed."""


@dataclass(frozen=True, slots=True)
class RecordPath:
    """Where an image is; does of what a `Path` does what images are read with."""

    archive: Archive
    index: int

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return the bytes of the image."""
        return self.archive.open(self.index)

    def stat(self) -> stat_result:
        """Of the file that it is in."""
        return self.archive.state(self.index)

    def __fspath__(self) -> str:
        return self.archive.name(self.index)

    def __str__(self) -> str:
        return self.archive.name(self.index)

    def __hash__(self) -> int:
        return self.index

    def __eq__(self, other: object) -> bool:
        same_place = isinstance(other, RecordPath) and self.index == other.index
        return same_place and self.archive.identity == other.archive.identity


@dataclass(frozen=True, slots=True)
class Records(Sequence[Sample]):
    """Images of an archive, as samples that are made when they are asked for.

    Attributes:
        archive: What they are in.
        labels: Of all images of the archive, in int32.
        rows: Which of them these are.
    """

    archive: Archive
    labels: np.ndarray
    rows: np.ndarray

    @classmethod
    def all_of(cls, archive: Archive, labels: np.ndarray) -> "Records":
        """Return all images of an archive."""
        return cls(archive, labels.astype(np.int32), np.arange(len(labels)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self.rows[index])
        return Sample(RecordPath(self.archive, row), int(self.labels[row]))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def only(self, chosen: Sequence[int]) -> "Records":
        """Return some of these images, by their indices."""
        return replace(self, rows=self.rows[np.asarray(chosen, dtype=np.int64)])

    @property
    def fingerprint(self) -> str:
        """Number of images, and a hash over what they are; of little that is quick to tell."""
        digest = hashlib.sha256(self.archive.identity.encode())
        digest.update(self.rows.tobytes())
        digest.update(self.labels[self.rows].tobytes())
        return f"{len(self)} images, {digest.hexdigest()[:12]}"


class TarArchive:
    """Images in tar files.

    Args:
        shards: The files.
        shard: Which of them each image is in.
        offsets: Of the image's first byte in it.
        sizes: Bytes of the image.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        shard: np.ndarray,
        offsets: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        self.shards = tuple(shards)
        self._shard = shard.astype(np.int32)
        self._offsets = offsets.astype(np.int64)
        self._sizes = sizes.astype(np.int64)

    def __len__(self) -> int:
        return len(self._shard)

    def name(self, index: int) -> str:
        return f"{self.shards[self._shard[index]]}:{self._offsets[index]}"

    def open(self, index: int) -> BinaryIO:
        with opened(self.shards[self._shard[index]]) as file:
            file.seek(self._offsets[index])
            return io.BytesIO(file.read(self._sizes[index]))

    def state(self, index: int) -> stat_result:
        return self.shards[self._shard[index]].stat()

    @property
    def identity(self) -> str:
        return " ".join(f"{shard.name} {shard.stat().st_size}" for shard in self.shards)


class ReaderArchive:
    """Images of one of timm's readers that gives them by their index.

    Args:
        name: Of the data set and its split.
        reader: timm's `ReaderHfds`.
    """

    def __init__(self, name: str, reader: Any) -> None:
        self._name = name
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader)

    def name(self, index: int) -> str:
        return f"{self._name}[{index}]"

    def open(self, index: int) -> BinaryIO:
        return self._reader[index][0]

    def state(self, index: int) -> stat_result:
        return Path(self._reader.dataset.cache_files[0]["filename"]).stat()

    @property
    def identity(self) -> str:
        return f"{self._name} {self._reader.dataset._fingerprint}"


def labels_of(samples: Sequence[Sample]) -> np.ndarray:
    """Return the labels of samples, (len,)."""
    if isinstance(samples, Records):
        return samples.labels[samples.rows]
    return np.fromiter((sample.label for sample in samples), np.int64, len(samples))
