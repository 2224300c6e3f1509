"""The images of a data set in one order, with splits and labels as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from covtool.data.datasets.class_order import in_order
from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.retrieval_layout import JUNK_IDENTITY
from covtool.data.datasets.survey import Survey
from covtool.full_paths import relative_name

NO_LABEL = -1


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of all splits, n of them.

    Attributes:
        folder: Folder that paths are shown relative to.
        paths: Their files.
        splits: Number of each one's split, shape (n,).
        labels: Number of each one's class, shape (n,); `NO_LABEL` where it is unknown.
        split_names: Names of the splits.
        class_names: Names of the classes, in the order of the library.
    """

    folder: Path
    paths: Sequence[Path]
    splits: np.ndarray
    labels: np.ndarray
    split_names: tuple[str, ...]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, found: Survey) -> "Images":
        """Number the images of a survey."""
        every = [image for images in found.splits.values() for image in images]
        unknown = {"", JUNK_IDENTITY} if found.task == "retrieval" else {""}
        names = tuple(in_order(image.label for image in every if image.label not in unknown))
        number = {name: at for at, name in enumerate(names)}
        counts = [len(images) for images in found.splits.values()]
        labels = (number.get(image.label, NO_LABEL) for image in every)
        return cls(
            folder=found.folder,
            paths=[image.path for image in every],
            splits=np.repeat(np.arange(len(counts), dtype=np.int16), counts),
            labels=np.fromiter(labels, np.int32, len(every)),
            split_names=tuple(found.splits),
            class_names=names,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, at: int) -> str:
        """Return the path of an image, relative to the folder of the data set."""
        path = self.paths[at]
        return relative_name(path, self.folder) if isinstance(path, Path) else str(path)

    def label(self, at: int) -> str:
        """Return the name of an image's class; "" where it is unknown."""
        label = self.labels[at]
        return "" if label == NO_LABEL else self.class_names[label]

    def split(self, at: int) -> str:
        """Return the name of an image's split."""
        return self.split_names[self.splits[at]]

    @cached_property
    def counts(self) -> np.ndarray:
        """The number of images by class and split, shape (classes, splits)."""
        found = np.zeros((len(self.class_names), len(self.split_names)), np.int64)
        known = self.labels != NO_LABEL
        np.add.at(found, (self.labels[known], self.splits[known]), 1)
        return found

    @property
    def has_splits(self) -> bool:
        """Whether the data set is split."""
        return self.split_names != (UNSPLIT,)
