"""What the numbers of images by class and split say about a data set; no image is opened."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from covtool.data.datasets.finding import Finding, Severity
from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.found_images import counted, shown
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.records import labels_of
from covtool.printable import printable

EXAMPLES = 5
UNEVEN = 10
"""How many times more training images the largest class has than the smallest to be uneven."""
FEW = 5
"""Training images, below which a class has few."""


@dataclass(frozen=True, kw_only=True)
class ClassCounts:
    """Numbers of images.

    Attributes:
        class_names: Names of the classes.
        split_names: The data set's own names of the splits, `UNSPLIT` where it has none.
        counts: Images by class and split, shape (classes, splits).
        training: Numbers of the splits that are trained on.
    """

    class_names: Sequence[str]
    split_names: Sequence[str]
    counts: np.ndarray
    training: Sequence[int]

    @property
    def of_training(self) -> str:
        """The splits that are trained on, as they follow a noun; "" without splits."""
        names = [repr(printable(self.split_names[at])) for at in self.training]
        return "" if list(self.split_names) == [UNSPLIT] else f" of {shown(names)}"


def missing_classes(of: ClassCounts) -> Iterator[Finding]:
    """Yield which classes are tested and never trained, and the other way round."""
    rest = [at for at in range(len(of.split_names)) if at not in of.training]
    if not of.training or not rest:
        return
    trained, tested = (of.counts[:, list(at)].sum(axis=1) > 0 for at in (of.training, rest))
    rows: tuple[tuple[np.ndarray, Severity, str, str], ...] = (
        (tested & ~trained, "problem", "untrained-classes", "to test on and none to train on"),
        (trained & ~tested, "remark", "untested-classes", "to train on and none to test on"),
    )
    for chosen, severity, name, text in rows:
        if chosen.any():
            names = [of.class_names[at] for at in np.flatnonzero(chosen)]
            verb = "have" if len(names) > 1 else "has"
            yield finding(
                severity,
                name,
                len(names),
                f"{counted(len(names), 'class')} {verb} images {text}.",
                names,
            )
    yield from _missing_in_one(of, trained & tested)


def _missing_in_one(of: ClassCounts, known: np.ndarray) -> Iterator[Finding]:
    """Yield which classes that are trained and tested one of several splits lacks."""
    for at, split in enumerate(of.split_names):
        lacks = known & (of.counts[:, at] == 0)
        if lacks.any():
            names = [of.class_names[place] for place in np.flatnonzero(lacks)]
            verb = "have" if len(names) > 1 else "has"
            text = f"{counted(len(names), 'class')} {verb} no images in {printable(split)!r}."
            yield finding("remark", f"missing-in-split-{at + 1}", len(names), text, names)


def uneven_classes(of: ClassCounts) -> Iterator[Finding]:
    """Yield the largest and the smallest of uneven classes."""
    counts = of.counts[:, list(of.training)].sum(axis=1)
    there = np.flatnonzero(counts)
    if len(there) < 2 or counts.max() < UNEVEN * counts[there].min():
        return
    most, least = counts.argmax(), there[counts[there].argmin()]
    large, small = (
        f"{printable(of.class_names[at])!r} has {counted(int(counts[at]), 'image')}"
        for at in (most, least)
    )
    text = f"Classes{of.of_training} are uneven: {large}, {small}."
    yield finding("remark", "uneven-classes", len(there), text)


def small_classes(of: ClassCounts) -> Iterator[Finding]:
    """Yield classes with few images."""
    counts = of.counts[:, list(of.training)].sum(axis=1)
    at = np.flatnonzero((counts > 0) & (counts < FEW))
    if len(at):
        verb = "have" if len(at) > 1 else "has"
        text = f"{counted(len(at), 'class')}{of.of_training} {verb} fewer than {FEW} images."
        few = [f"{of.class_names[place]} ({counts[place]})" for place in at]
        yield finding("remark", "small-classes", len(at), text, few)


FINDERS: tuple[Callable[[ClassCounts], Iterator[Finding]], ...] = (
    missing_classes,
    uneven_classes,
    small_classes,
)


def notes_on_classes(layout: DataLayout) -> tuple[str, ...]:
    """Return a line for each finding about the numbers of images of a data set.

    Those that a split lacks are among the layout's own notes.
    """
    if layout.searched is not None or "train" not in layout.splits:
        return ()
    counts = np.bincount(labels_of(layout.splits["train"]), minlength=len(layout.class_names))
    of = ClassCounts(
        class_names=layout.class_names,
        split_names=[layout.split_names["train"]],
        counts=counts[:, None],
        training=[0],
    )
    return tuple(found.line for find in FINDERS for found in find(of))


def finding(
    severity: Severity, name: str, count: int, text: str, examples: Sequence[str] = ()
) -> Finding:
    """Return a finding with the first of its examples, made printable."""
    few = tuple(printable(example) for example in examples[:EXAMPLES])
    return Finding(severity=severity, name=name, count=count, text=text, examples=few)
