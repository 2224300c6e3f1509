"""A data set for classification: class names, and path and label of each image by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from covtool.data.datasets.class_order import in_order
from covtool.data.datasets.folders.labeled import LAYOUT_HINT
from covtool.data.datasets.folders.names import ROLES, UNSPLIT, exact_split, implied_split
from covtool.data.datasets.found_images import FoundImages, Labeled, LabeledPaths, shown
from covtool.data.datasets.places import nothing_there
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.data.datasets.samples import FileSamples, Sample, samples_of
from covtool.errors import DataError
from covtool.full_paths import in_full


@dataclass(frozen=True, kw_only=True)
class DataLayout:
    """The images of a data set, by split.

    Attributes:
        root: The folder or the CSV file.
        kind: Kind of `root`, or ``wds`` or ``hfds``, whose images are no files of their own.
        class_names: Names in the order of `covtool.data.datasets.class_order.in_order`; a label is
            an index into them.
        splits: Samples under ``train``, ``val`` and ``test``, as far as there are any. A model is
            evaluated on ``val``, whatever the data set calls it; ``test`` is there only beside a
            ``val``. A data set without splits has ``train`` only.
        split_names: The data set's own names of these splits.
        searched: Data set of a search in place of a validation, for the images of ``val``, whose
            labels are their positions then. None for a validation.
        unlabeled: The data set's own names of splits without labels, and the reasons.
        notes: Notes for the user on what was read and what was left out.
    """

    root: Path
    kind: Literal["folder", "csv", "wds", "hfds"]
    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[Sample]]
    split_names: Mapping[str, str]
    searched: RetrievalLayout | None = None
    unlabeled: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple:
        # Layouts are sent between processes, and a MappingProxyType cannot be pickled.
        mappings = {"splits": dict(self.splits), "split_names": dict(self.split_names)}
        return partial(DataLayout, **{**vars(self), **mappings}), ()

    @property
    def name(self) -> str:
        """The name of the folder or file."""
        return in_full(self.root).name

    @property
    def folder(self) -> Path:
        """The folder that paths are relative to: the root, or that of the CSV file."""
        return self.root.parent if self.kind == "csv" else self.root

    @property
    def has_files(self) -> bool:
        """Whether every image is a file of its own."""
        samples = (samples for samples in self.splits.values() if samples)
        return self.kind in ("folder", "csv") and all(isinstance(s[0].path, Path) for s in samples)

    def samples(self, split: str) -> Sequence[Sample]:
        """Return the samples of a split, by its canonical name or the data set's own.

        Raises:
            DataError: There is no such split; the others are named.
        """
        keys = {name: key for key, name in self.split_names.items()}
        key = keys.get(split, split)
        if key in self.splits:
            return self.splits[key]
        why = next((why for name, why in self.unlabeled.items() if split in _names_of(name)), None)
        raise DataError(
            f"{self.root} has no split called {split!r}{' with labels' if why else ''}.",
            reason=f"{why}." if why else None,
            hint=f"It has: {', '.join(self.split_names.values())}.",
        )

    def evaluation_samples(self) -> tuple[Sequence[Sample], str]:
        """Return the images to evaluate on and their name: ``val``, else ``test``, else all.

        Raises:
            DataError: There are such images, and they have no labels.
        """
        key = next((key for key in ("val", "test") if key in self.splits), "train")
        if key == "train" and self.unlabeled:
            raise DataError(
                f"{self.root} has nothing to evaluate on: {'; '.join(self.unlabeled.values())}.",
                reason="Figures of the training images would mean something else.",
                hint=f"Put that right, or add --split {self.split_names['train']} for those "
                "images.",
            )
        return self.splits[key], self.split_names[key]


def layout_of_images(root: Path, kind: Literal["folder", "csv"], found: FoundImages) -> DataLayout:
    """Build a data set from the images that were found in it.

    Raises:
        DataError: It has classes to evaluate on that are not trained.
    """
    layout = _layout(root, kind, found.splits)
    return replace(layout, unlabeled=dict(found.unlabeled), notes=found.notes)


def layout_of_list(root: Path, found: Mapping[str, Sequence[Labeled]]) -> DataLayout:
    """Build a data set from a list of its images; they need not be there.

    Args:
        root: Folder or CSV file of the data set.
        found: Images with the names of their classes, by the data set's own names of the splits.

    Raises:
        DataError: There is nothing at `root`.
    """
    if not root.exists():
        raise nothing_there(root)
    return _layout(root, "folder" if root.is_dir() else "csv", found)


def require_trainable(layout: DataLayout) -> None:
    """Refuse a data set that a classifier cannot be trained and validated on.

    Raises:
        DataError: A single class, no training images, nothing to validate on, or a class whose name
            no file can keep.
    """
    _require_text(layout)
    if len(layout.class_names) < 2:
        raise DataError(
            f"{layout.root} has a single class, {layout.class_names[0]!r}.",
            reason="A classifier needs at least two.",
            hint=LAYOUT_HINT,
        )
    if "train" not in layout.splits:
        raise DataError(
            f"{layout.root} has no training images, only: "
            f"{', '.join(layout.split_names.values())}.",
            reason=" ".join(f"{why}." for why in layout.unlabeled.values()) or None,
            hint=LAYOUT_HINT,
        )
    if "val" not in layout.splits:
        raise DataError(
            f"{layout.root} has nothing to validate on.",
            reason="Of the classes that are trained, it has training images only."
            + "".join(f"\n{why}." for why in layout.unlabeled.values()),
            hint="Add --val-fraction 0.2 to set aside a fifth of each class.",
        )


def _require_text(layout: DataLayout) -> None:
    """Refuse names that are not UTF-8: the trained model's file could not be read again."""
    odd = [name for name in layout.class_names if not _is_text(name)]
    if odd:
        raise DataError(
            f"{layout.root} has classes whose names are not UTF-8: {shown(odd, 12)}.",
            reason="A model's file keeps the names of its classes as text.",
            hint="Rename these folders, or correct the encoding of the list.",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that Python keeps as half characters
        return False
    return True


def _layout(
    root: Path, kind: Literal["folder", "csv"], found: Mapping[str, Sequence[Labeled]]
) -> DataLayout:
    split_names = canonical_splits(found)
    # Training images define the classes. A class without any cannot be learned, and its number
    # among the outputs of a model would depend on the images to test on.
    defining = next(key for key in ("train", "val", "test") if key in split_names)
    names = in_order(_classes_of(found[split_names[defining]]))
    index = {name: position for position, name in enumerate(names)}
    splits = {}
    for key, own in split_names.items():
        unknown = sorted(_classes_of(found[own]) - set(names))
        if unknown:
            raise DataError(
                f"{root} has classes in {own!r} that {split_names[defining]!r} lacks: "
                f"{shown(unknown, 12)}.",
                reason="The training images say which classes there are.",
                hint="Add training images of them, or take them out.",
            )
        splits[key] = _numbered(found[own], index)
    return DataLayout(
        root=root,
        kind=kind,
        class_names=tuple(names),
        splits=MappingProxyType(splits),
        split_names=MappingProxyType(split_names),
    )


def _classes_of(images: Sequence[Labeled]) -> set[str]:
    if isinstance(images, LabeledPaths):
        return images.classes()
    return {label for _, label in images}


def _numbered(images: Sequence[Labeled], index: Mapping[str, int]) -> Sequence[Sample]:
    if isinstance(images, LabeledPaths):
        return samples_of(images.paths, images.labels(index))
    return samples_of([path for path, _ in images], [index[label] for _, label in images])


def canonical_splits(found: Mapping[str, object]) -> dict[str, str]:
    """Map ``train``, ``val`` and ``test``, as far as there are any, to a data set's own names."""
    if UNSPLIT in found:
        return {"train": UNSPLIT}
    names = {}
    for key in ROLES:
        own = [name for name in found if exact_split(name) == key]
        own = own or [name for name in found if implied_split(name) == key]
        if len(own) > 1:
            raise DataError(
                f"Two splits mean the same: {' and '.join(own)}.",
                hint=f"Put them together, or rename one: {key} is the other's then.",
            )
        if own:
            names[key] = own[0]
    if "test" in names and "val" not in names:  # most data sets have two splits
        names["val"] = names.pop("test")
    return names


def _names_of(split: str) -> set[str | None]:
    return {split, exact_split(split) or implied_split(split)}


def in_order_of(layout: DataLayout, names: Sequence[str]) -> DataLayout:
    """Return a data set with its classes in another order.

    Args:
        layout: The data set.
        names: Names of its classes in order; with other names it stays as it is.
    """
    # A model with the same classes in another order keeps its order: its outputs have it.
    if sorted(names) != sorted(layout.class_names) or tuple(names) == layout.class_names:
        return layout
    number = {name: label for label, name in enumerate(names)}
    label_of = [number[name] for name in layout.class_names]

    def relabeled(key: str, samples: Sequence[Sample]) -> Sequence[Sample]:
        if layout.searched is not None and key != "train":
            return samples  # their labels are positions, not classes
        if not layout.has_files and hasattr(samples, "labels"):  # records, not held in memory
            return replace(samples, labels=np.array(label_of, dtype=np.int32)[samples.labels])
        if isinstance(samples, FileSamples):
            return samples.relabeled(label_of)
        return tuple(replace(sample, label=label_of[sample.label]) for sample in samples)

    splits = {key: relabeled(key, samples) for key, samples in layout.splits.items()}
    return replace(layout, class_names=tuple(names), splits=MappingProxyType(splits))
