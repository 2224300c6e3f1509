"""Data sets cut into folds: the training images, each held out once and trained on otherwise.

Images to validate or to test on stay out of it: what is chosen by folds can be measured on them
afterwards.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from covtool.atomic import written_whole
from covtool.data.datasets.folds import grouped_folds, stratified_folds
from covtool.data.datasets.found_images import counted
from covtool.data.datasets.hygiene import require_distinct
from covtool.data.datasets.image_list import damaged_list, list_rows
from covtool.data.datasets.layout import DataLayout, layout_of_list
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL
from covtool.data.datasets.lists.labeled import is_table, meanings_in
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.reading import is_labeled, read_retrieval
from covtool.data.datasets.retrieval.training import searching_layout, training_layout
from covtool.data.datasets.retrieval_layout import JUNK_IDENTITY, RetrievalLayout, RetrievalSample
from covtool.data.datasets.samples import Sample, chosen_samples
from covtool.errors import DataError
from covtool.full_paths import relative_name
from covtool.printable import first_few
from covtool.specs.layout import LayoutSpec

LABELED = ("path", "label", "fold")
IDENTIFIED = ("path", "identity", "camera", "fold")
NUMBERED = ("path", "label", "number", "fold")
"""Columns for images that are no files of their own: they are known by their places."""

FORMS = (LABELED, IDENTIFIED, NUMBERED)

SHOWN = 12
LEAST_IDENTITIES = 2
"""Identities of a fold: in one alone, every match is right."""


@dataclass(frozen=True, kw_only=True)
class FoldedData:
    """A data set whose training images are cut into folds.

    Attributes:
        whole: The data set; one for retrieval has its identities cut, another one its classes.
        numbers: Fold of each training image, counted from 1.
        folds: Number of folds.
    """

    whole: DataLayout | RetrievalLayout
    numbers: Sequence[int]
    folds: int

    @property
    def is_searched(self) -> bool:
        """Whether a fold is judged by a search for its images among each other."""
        return isinstance(self.whole, RetrievalLayout)

    @property
    def training(self) -> Sequence[Sample] | Sequence[RetrievalSample]:
        """The images that are cut into folds."""
        return self.whole.train if self.is_searched else self.whole.splits["train"]

    def part(self, fold: int) -> DataLayout:
        """Return the data set of a run: one fold to validate on, the others to train on.

        Args:
            fold: The one that is held out, counted from 1.
        """
        kept = [at for at, number in enumerate(self.numbers) if number != fold]
        held = [at for at, number in enumerate(self.numbers) if number == fold]
        if isinstance(self.whole, RetrievalLayout):
            train, searched = (tuple(self.training[at] for at in some) for some in (kept, held))
            parts = {"train": train, "val": (), "query": searched, "gallery": searched}
            return searching_layout(replace(self.whole, **parts, shared=True))
        splits = {
            "train": chosen_samples(self.training, kept),
            "val": chosen_samples(self.training, held),
        }
        return replace(
            self.whole,
            splits=MappingProxyType(splits),
            split_names=MappingProxyType({name: name for name in splits}),
            unlabeled={},
        )

    def write(self, file: Path) -> None:
        """Write the fold of each image to a CSV file, replaced if it is there."""
        with (
            written_whole(file) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
        ):
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(self._columns)
            writer.writerows(self._rows())

    def is_in(self, file: Path) -> bool:
        """Return whether a file is what `write` would write.

        Raises:
            DataError: It is damaged.
        """
        columns, rows = list_rows(file, FORMS)
        same = columns == self._columns
        return same and [tuple(row.values()) for row in rows] == list(self._rows())

    @property
    def _columns(self) -> tuple[str, ...]:
        if isinstance(self.whole, RetrievalLayout):
            return IDENTIFIED
        return LABELED if self.whole.has_files else NUMBERED

    def _rows(self) -> Iterator[tuple[str, ...]]:
        names, columns = _names(self.training, self.whole), self._columns
        images = zip(names, self.training, self.numbers, strict=True)
        for place, (name, sample, fold) in enumerate(images):
            if isinstance(sample, RetrievalSample):
                yield name, sample.identity, sample.camera or "", str(fold)
                continue
            number = [str(place)] if columns == NUMBERED else []
            yield name, self.whole.class_names[sample.label], *number, str(fold)


def fold_data(
    root: Path,
    folds: int,
    *,
    searched: bool = False,
    test_classes: float | None = None,
    choice: LayoutSpec | None = None,
) -> FoldedData:
    """Cut the training images of a data set into folds; those of one for retrieval by identity.

    Args:
        root: A data set of either kind.
        folds: Number of folds.
        searched: Whether a search judges a run, whatever the data set is for.
        test_classes: Share of classes to search in, see `read_retrieval`; given, the data set is
            for retrieval.
        choice: Options of the layout, where it has any.

    Raises:
        DataError: See `read_classes`; or a class has fewer images than there are folds, or there
            are not two identities for each.
        ArgumentError: See `read_classes`.
    """
    root = Path(root)
    if not searched and test_classes is None and is_labeled(root):
        return _by_class(scan(root, choice=choice), folds, _note_on_identities(root))
    return _by_identity(read_retrieval(root, test_classes=test_classes, choice=choice), folds)


def read_folds(file: Path, root: Path, folds: int) -> FoldedData | None:
    """Read folds that `FoldedData.write` wrote, whatever the data set holds by now.

    Args:
        file: The list.
        root: Folder or CSV file of the data set, which may have moved.
        folds: Number of folds.

    Returns:
        The folds; None where the images are no files, and only the data set itself has them.

    Raises:
        DataError: The list is damaged, or there is nothing at `root`.
    """
    columns, rows = list_rows(file, FORMS)
    if columns == NUMBERED:
        return None
    known = {str(number): number for number in range(1, folds + 1)}
    if odd := next((row["fold"] for row in rows if row["fold"] not in known), None):
        raise damaged_list(file, f"there is no fold {odd!r} of {folds}")
    if not rows:
        raise damaged_list(file, "it has no images")
    folder = root.parent if root.is_file() or is_table(root) else root
    paths = [folder / row["path"] for row in rows]
    numbers = tuple(known[row["fold"]] for row in rows)
    if columns == LABELED:
        labeled = [(path, row["label"]) for path, row in zip(paths, rows, strict=True)]
        whole = layout_of_list(root, {"train": labeled})
        return FoldedData(whole=whole, numbers=numbers, folds=folds)
    train = tuple(
        RetrievalSample(path, row["identity"], row["camera"] or None)
        for path, row in zip(paths, rows, strict=True)
    )
    kind = "folders" if root.is_dir() else "csv"
    return FoldedData(
        whole=RetrievalLayout(root=root, kind=kind, train=train), numbers=numbers, folds=folds
    )


def held_out_part(
    layout: DataLayout, samples: Sequence[Sample], parts: int
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return training images without a part of each class, and that part.

    As of folds, an image's part depends on the names of all. A class of one image keeps it.

    Args:
        layout: Data set that they are of.
        samples: The images.
        parts: Number of parts that each class is cut into.
    """
    labels = [layout.class_names[sample.label] for sample in samples]
    numbers = stratified_folds(labels, _names(samples, layout), parts)
    trained = {label for label, number in zip(labels, numbers, strict=True) if number != 1}
    held = [at for at, label in enumerate(labels) if numbers[at] == 1 and label in trained]
    is_held = set(held)
    kept = [at for at in range(len(samples)) if at not in is_held]
    return chosen_samples(samples, kept), chosen_samples(samples, held)


def _by_class(layout: DataLayout, folds: int, notes: tuple[str, ...]) -> FoldedData:
    samples = layout.samples("train")
    names = _names(samples, layout)
    labels = [layout.class_names[sample.label] for sample in samples]
    _require_enough(layout, labels, names, folds)
    unused = [layout.split_names[key] for key in layout.splits if key != "train"]
    return FoldedData(
        whole=replace(layout, notes=(*layout.notes, *notes, *_on_unused(unused))),
        numbers=tuple(stratified_folds(labels, names, folds)),
        folds=folds,
    )


def _by_identity(layout: RetrievalLayout, folds: int) -> FoldedData:
    require_distinct(training_layout(replace(layout, val=())))
    train = tuple(sample for sample in layout.train if sample.identity != JUNK_IDENTITY)
    identities = [sample.identity for sample in train]
    count, needed = len(set(identities)), LEAST_IDENTITIES * folds
    if count < needed:
        raise DataError(
            f"The {count} training identities of {layout.root} are too few for {folds} folds.",
            reason="The images of a fold are searched for among each other: it needs "
            f"{LEAST_IDENTITIES} identities, so {needed} in all.",
            hint=f"Use fewer folds: --folds {count // LEAST_IDENTITIES} at most."
            if count >= 2 * LEAST_IDENTITIES
            else "Folds need more identities.",
        )
    unused = [name for name in layout.subsets if name != "train"]
    notes = (*layout.notes, *_on_unused(unused))
    return FoldedData(
        whole=replace(layout, train=train, notes=notes),
        numbers=tuple(grouped_folds(identities, folds)),
        folds=folds,
    )


def _require_enough(
    layout: DataLayout, labels: Sequence[str], names: Sequence[str], folds: int
) -> None:
    """Refuse classes that are not in every fold."""
    images = Counter(label for label, _ in set(zip(labels, names, strict=True)))
    if few := sorted(label for label, count in images.items() if count < folds):
        least = min(images.values())
        listed = first_few(few, SHOWN, show=lambda label: f"{label} ({images[label]})")
        raise DataError(
            f"{counted(len(few), 'class')} of {layout.root} "
            f"{'has' if len(few) == 1 else 'have'} fewer training images than the {folds} folds: "
            f"{listed}.",
            reason="A fold without an image of a class says nothing about it.",
            hint=(f"Use --folds {least}, add images, " if least > 1 else "Add images, ")
            + "or take these classes out.",
        )


def _on_unused(splits: Sequence[str]) -> Iterator[str]:
    if splits:
        yield (
            f"The folds are of the training images; those of {', '.join(splits)} are neither "
            "trained nor looked at."
        )


def _note_on_identities(root: Path) -> tuple[str, ...]:
    """Return a note on identities that folds by class do not keep together."""
    if not (is_table(root) and root.is_file() and {IDENTITY, LABEL} <= set(meanings_in(root))):
        return ()
    return (
        f"The folds draw the classes of column {LABEL!r} evenly: images of one {IDENTITY} may be "
        "in several folds, trained on in one run and held out in another part of the same.",
    )


def _names(
    samples: Sequence[Sample | RetrievalSample], layout: DataLayout | RetrievalLayout
) -> list[str]:
    """Return the names of images, which do not change where a data set is moved."""
    paths = (os.fspath(sample.path) for sample in samples)
    if layout.kind == "hfds":  # which is nowhere in particular
        return list(paths)
    return [relative_name(path, layout.folder) for path in paths]
