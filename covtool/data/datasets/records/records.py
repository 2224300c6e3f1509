"""Images without a file of their own: in tar files, or in a data set of Hugging Face.

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

from covtool.data.datasets.samples import FileSamples, Sample
from covtool.regular_files import opened


class Archive(Protocol):
    """File or data set that holds images."""

    def __len__(self) -> int:
        """Return the number of images in it."""

    def name(self, index: int) -> str:
        """Return the name of an image, for messages; no other image has the same."""

    def open(self, index: int) -> BinaryIO:
        """Return the bytes of an image."""

    def state(self, index: int) -> stat_result:
        """Return the state of the file that an image is in."""

    @property
    def identity(self) -> str:
        """Text that differs between archives, and changes when an archive does."""


@dataclass(frozen=True, slots=True)
class RecordPath:
    """Place of an image in an archive, with the methods of a `Path` with which images are read."""

    archive: Archive
    index: int

    def open(self, mode: str = "rb") -> BinaryIO:
        """Return the bytes of the image."""
        return self.archive.open(self.index)

    def stat(self) -> stat_result:
        """Return the state of the file that it is in."""
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
        archive: Archive that they are in.
        labels: Labels of all images of the archive, in int32.
        rows: Positions of these images in the archive.
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
        return (self[index] for index in range(len(self)))  # Sequence's own waits for an IndexError

    def only(self, chosen: Sequence[int]) -> "Records":
        """Return some of these images, by their indices."""
        return replace(self, rows=self.rows[np.asarray(chosen, dtype=np.int64)])

    @property
    def fingerprint(self) -> str:
        """Number of images, and a hash over the archive's identity, their rows and labels."""
        digest = hashlib.sha256(self.archive.identity.encode())
        digest.update(self.rows.tobytes())
        digest.update(self.labels[self.rows].tobytes())
        return f"{len(self)} images, {digest.hexdigest()[:12]}"


class TarArchive:
    """Images in tar files.

    Args:
        shards: The files.
        shard: Index of each image's file.
        offsets: Position of each image's first byte in its file.
        sizes: Bytes of each image.
        states: Size in bytes and time of the last change in ns of each file, from before it was
            gone through; None to ask for them now.
    """

    def __init__(
        self,
        shards: Sequence[Path],
        shard: np.ndarray,
        offsets: np.ndarray,
        sizes: np.ndarray,
        states: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.shards = tuple(shards)
        self.states = tuple(states_of(shards) if states is None else states)
        self._shard = shard.astype(np.int32)
        self._offsets = offsets.astype(np.int64)
        self._sizes = sizes.astype(np.int64)

    def __len__(self) -> int:
        return len(self._shard)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index of each image's file, position of its first byte there, and its bytes."""
        return self._shard, self._offsets, self._sizes

    def name(self, index: int) -> str:
        return f"{self.shards[self._shard[index]]}:{self._offsets[index]}"

    def open(self, index: int) -> BinaryIO:
        # Opened for each image: an open file would be shared by forked workers, and so would its
        # position.
        with opened(self.shards[self._shard[index]]) as file:
            file.seek(self._offsets[index])
            return io.BytesIO(file.read(self._sizes[index]))

    def state(self, index: int) -> stat_result:
        return self.shards[self._shard[index]].stat()

    @property
    def identity(self) -> str:
        return " ".join(f"{shard.name} {shard.stat().st_size}" for shard in self.shards)


def states_of(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return size in bytes and time of the last change in ns of each file."""
    return [(state.st_size, state.st_mtime_ns) for state in (file.stat() for file in files)]


class ReaderArchive:
    """Images of one of timm's readers that gives them by their index.

    Args:
        name: Name of the data set and its split.
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
        # Hugging Face's own hash of the data and all that was done to them.
        return f"{self._name} {self._reader.dataset._fingerprint}"


def labels_of(samples: Sequence[Sample]) -> np.ndarray:
    """Return the labels of samples, (len,)."""
    if isinstance(samples, Records):  # without making a sample of each
        return samples.labels[samples.rows]
    if isinstance(samples, FileSamples):
        return samples.labels.astype(np.int64)
    return np.fromiter((sample.label for sample in samples), np.int64, len(samples))
