"""A labeled image of a data set, many of them, and a draw of as many from each class."""

import os
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from covtool.data.datasets.image_paths import ImagePaths, relative_folder
from covtool.full_paths import relative_name


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file and its label, an index into the class names."""

    path: Path
    label: int


class FileSamples(Sequence[Sample]):
    """Labeled image files as columns: of a million, some thirty megabytes in place of hundreds.

    Args:
        paths: The files.
        labels: Label of each, (N,).
    """

    __slots__ = ("labels", "paths")

    def __init__(self, paths: ImagePaths, labels: np.ndarray) -> None:
        self.paths = paths
        self.labels = labels.astype(np.int32, copy=False)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "FileSamples": ...
    def __getitem__(self, index: int | slice) -> "Sample | FileSamples":
        if isinstance(index, slice):
            return FileSamples(self.paths[index], self.labels[index])
        return Sample(self.paths[index], int(self.labels[index]))

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self.paths, map(int, self.labels))

    def __add__(self, other: Sequence[Sample]) -> Sequence[Sample]:
        if isinstance(other, FileSamples):
            paths = ImagePaths.joined([self.paths, other.paths])
            return FileSamples(paths, np.concatenate([self.labels, other.labels]))
        return (*self, *other)

    def only(self, rows: Sequence[int] | np.ndarray) -> "FileSamples":
        """Return some of these images, by their indices."""
        rows = np.asarray(rows, dtype=np.int64)
        return FileSamples(self.paths.only(rows), self.labels[rows])

    def relabeled(self, label_of: Sequence[int]) -> "FileSamples":
        """Return these images with other labels, by the present ones."""
        return FileSamples(self.paths, np.array(label_of, dtype=np.int32)[self.labels])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FileSamples):
            return np.array_equal(self.labels, other.labels) and self.paths == other.paths
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def samples_of(paths: Sequence[Path], labels: Sequence[int] | np.ndarray) -> Sequence[Sample]:
    """Return images with their labels: as columns where each is a file, not a part of one."""
    if isinstance(paths, ImagePaths):
        return FileSamples(paths, np.asarray(labels))
    if all(isinstance(path, Path) for path in paths):
        return FileSamples(ImagePaths.of_texts(map(str, paths)), np.asarray(labels, np.int32))
    return tuple(map(Sample, paths, map(int, labels)))


def path_texts(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield the path of each image as text."""
    if isinstance(samples, FileSamples):
        return samples.paths.texts()
    return (os.fspath(sample.path) for sample in samples)


def relative_texts(samples: Sequence[Sample], root: Path) -> Iterator[str]:
    """Yield the path of each image from a folder, as `relative_name` has it."""
    if not isinstance(samples, FileSamples):
        return (relative_name(sample.path, root) for sample in samples)
    # Once for each folder: of a million images, one after the other takes ten seconds.
    folders = [relative_folder(folder, root) for folder in samples.paths.folders]
    texts = samples.paths.texts(folders)
    return texts if os.sep == "/" else (text.replace(os.sep, "/") for text in texts)


def as_columns(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return images that nothing changes any more: columns as they are, others as a tuple.

    A tuple of columns would hold millions of objects, which each forked process copies.
    """
    return samples if hasattr(samples, "only") else tuple(samples)  # as `chosen_samples` tells


def chosen_samples(samples: Sequence[Sample], rows: Sequence[int]) -> Sequence[Sample]:
    """Return some of the images, by their indices, as columns where they are such."""
    if hasattr(samples, "only"):  # `FileSamples` and records: millions, that are to stay no objects
        return samples.only(rows)
    return tuple(samples[row] for row in rows)


def draw_evenly(samples: Sequence[Sample], limit: int | None, *, seed: int = 0) -> Sequence[Sample]:
    """Draw at most `limit` samples, evenly from the classes, in the order of `samples`.

    Args:
        samples: Samples to draw from.
        limit: Largest number of samples; None for all.
        seed: Seed of the draw.
    """
    if limit is None or limit >= len(samples):
        return samples if isinstance(samples, FileSamples) else tuple(samples)
    of_class = defaultdict(list)  # in the order of first occurrence, on which the draw depends
    is_columns = isinstance(samples, FileSamples)
    labels = samples.labels.tolist() if is_columns else (sample.label for sample in samples)
    for position, label in enumerate(labels):
        of_class[label].append(position)
    for label, positions in of_class.items():
        random.Random(f"{seed} {label}").shuffle(positions)
    # The classes take turns; one that has no more images left is passed over.
    rounds = ((p[turn] for p in of_class.values() if turn < len(p)) for turn in range(len(samples)))
    chosen = [position for positions in rounds for position in positions][:limit]
    return chosen_samples(samples, sorted(chosen))
