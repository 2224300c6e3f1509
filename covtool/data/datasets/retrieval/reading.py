"""Reading of data sets for retrieval from a path, and the task that a data set is for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from covtool.data.datasets.error_translation import translate_content_errors, translate_path_errors
from covtool.data.datasets.folders.classes import folders_in
from covtool.data.datasets.folders.names import TEST_NAMES, TRAIN_NAMES, VAL_NAMES, is_no_class
from covtool.data.datasets.hygiene import note_on_outside, require_distinct
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL
from covtool.data.datasets.lists.labeled import is_table, meanings_in
from covtool.data.datasets.places import nothing_there
from covtool.data.datasets.published import find_published, refuse_options
from covtool.data.datasets.reading import scan
from covtool.data.datasets.retrieval.forms import FORMS
from covtool.data.datasets.retrieval.training import training_layout
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.data.datasets.spelling import spelled_alike, without_number
from covtool.errors import ArgumentError, DataError
from covtool.specs.layout import LayoutSpec

Task = Literal["classification", "retrieval"]

RETRIEVAL_HINT = (
    "For retrieval, covtool reads Market-1501, DukeMTMC-reID, CUHK03, MSMT17, VeRi and others as\n"
    "they are published (covtool list data), a CSV file with the columns\n"
    "path,identity,camera,split, and class folders whose test classes are not in train/."
)


def task_of(root: Path) -> Task:
    """Return the task that a data set is for, by names alone; no image is opened.

    Data for retrieval are the published forms, a CSV file with a column ``identity`` and none
    called ``label``, and class folders of which none in ``test`` (or ``val``, without a ``test``)
    is in ``train``; one class is nothing to search in. Everything else is for classification, also
    what is not there.

    Raises:
        DataError: A CSV file has both columns.
    """
    with translate_path_errors(root):
        return _task_of(Path(root))


def _task_of(root: Path) -> Task:
    if root.is_dir():
        if next(row for row in FORMS if row.fits(root)).name != "folders":
            return "retrieval"
        if find_published(root):
            return "classification"
        return "retrieval" if _data_sets_below(root) or _is_disjoint(root) else "classification"
    if not (is_table(root) and root.is_file()):
        return "classification"
    if find_published(root):
        return "classification"
    columns = meanings_in(root)
    if IDENTITY in columns and LABEL in columns:
        raise DataError(
            f"{root} has a column {IDENTITY!r} and a column {LABEL!r}.",
            reason="The first is for retrieval, the second for classification.",
            hint="Say which one is meant: --task retrieval, or --task classification.",
        )
    return "retrieval" if IDENTITY in columns else "classification"


def read_retrieval(
    root: Path, *, test_classes: float | None = None, choice: LayoutSpec | None = None
) -> RetrievalLayout:
    """Read the images of a data set for retrieval.

    Args:
        root: Path with one of the layouts `covtool.data.datasets.retrieval.forms.FORMS`, the first
            that fits; or a published data set for classification.
        test_classes: Share of the classes to search in, the last in sorted order, where the data
            has no split; the others are for training. In (0, 1). Of a published data set for
            classification, all images are split so.
        choice: Options of the layout, where it has any.

    Raises:
        DataError: Nothing there, no such form, or a mistake in it.
        ArgumentError: `test_classes` is out of range, or there is no such choice.
    """
    with translate_path_errors(root):
        layout = _read_retrieval(Path(root), choice or LayoutSpec(), test_classes)
        paths = (sample.path for samples in layout.subsets.values() for sample in samples)
        return replace(layout, notes=(*layout.notes, *_on_outside(layout, paths)))


def _on_outside(layout: RetrievalLayout, paths: Iterable[Path]) -> Iterator[str]:
    known = set(layout.notes)  # `scan` may have noted the same
    yield from (note for note in note_on_outside(paths, layout.folder) if note not in known)


def _read_retrieval(root: Path, choice: LayoutSpec, test_classes: float | None) -> RetrievalLayout:
    if not root.exists():
        raise nothing_there(root)
    form = next((row for row in FORMS if row.fits(root)), None)
    # A published data set for classification looks like class folders or a CSV file: it goes first.
    general = form is None or form.name in ("csv", "folders")
    if general and find_published(root):
        layout = _read_labeled(root, choice, whole=test_classes is not None)
        return layout if test_classes is None else _split_by_class(layout, test_classes)
    if form is None:
        raise DataError(f"{root} is neither a folder nor a CSV file.", hint=RETRIEVAL_HINT)
    if form.name == "folders" and (below := _data_sets_below(root)):
        raise DataError(
            f"{root} is not a data set itself, but holds {len(below)}: {', '.join(below)}.",
            hint=f"Choose one, like {root / below[0]}.",
        )
    refuse_options(choice, form.options, root)
    with translate_content_errors(root, form.name):
        layout = form.read(root, choice)
    return layout if test_classes is None else _split_by_class(layout, test_classes)


def read_classes(
    root: Path,
    *,
    val_fraction: float | None = None,
    test_classes: float | None = None,
    seed: int = 0,
    choice: LayoutSpec | None = None,
) -> DataLayout:
    """Read the data set to train a classifier on: `scan`, or training identities as classes.

    Args:
        root: A data set of either kind.
        val_fraction: Share of each class to set aside as ``val``, where there is none; in (0, 1).
        test_classes: Share of classes to search in, see `read_retrieval`; given, the data set is
            for retrieval.
        seed: Seed of the choice for `val_fraction`.
        choice: Options of the layout, where it has any.

    Raises:
        DataError: See `scan`, `read_retrieval` and `require_distinct`.
        ArgumentError: A share is out of range, or there is no such choice.
    """
    root = Path(root)
    if test_classes is None and is_labeled(root):
        return scan(root, val_fraction=val_fraction, seed=seed, choice=choice)
    layout = read_retrieval(root, test_classes=test_classes, choice=choice)
    training = training_layout(layout, val_fraction=val_fraction, seed=seed)
    require_distinct(training)
    return training


def _read_labeled(root: Path, choice: LayoutSpec, *, whole: bool) -> RetrievalLayout:
    """Read a data set for classification; each image is searched for among the others.

    Args:
        root: The data set.
        choice: Options of the layout.
        whole: Whether its splits do not matter; else the split to evaluate on is searched in.

    Raises:
        DataError: See `scan`.
    """
    layout = scan(root, choice=choice)
    names = layout.class_names

    def of(split: str) -> tuple[RetrievalSample, ...]:
        samples = layout.splits.get(split, ())
        return tuple(RetrievalSample(s.path, names[s.label]) for s in samples)

    own = {split: of(split) for split in layout.splits}
    whole = whole or len(own) == 1
    # One split alone is all there is; else training images must not be found again.
    searched = sum(own.values(), ()) if whole else own.get("test") or own.get("val", ())
    return RetrievalLayout(
        root=root,
        kind="published",
        train=() if whole else own.get("train", ()),
        query=searched,
        gallery=searched,
        shared=True,
        notes=layout.notes,
    )


def is_labeled(root: Path) -> bool:
    """Return whether `scan` should read it; for training, so is a CSV file with both columns."""
    is_csv = is_table(root) and root.is_file() and not find_published(root)
    if not is_csv:
        return task_of(root) == "classification"
    columns = meanings_in(root)
    return LABEL in columns or IDENTITY not in columns


def _is_disjoint(root: Path) -> bool:
    """Return whether none of the classes to evaluate on is trained."""
    classes = {child.name.lower(): _folders(child) for child in folders_in(root)}

    def of(names: tuple[str, ...]) -> set[str]:
        return set().union(*(classes.get(name, set()) for name in names))

    # A class may have another number in each folder, as 001.Black_footed_Albatross.
    train, evaluated = of(TRAIN_NAMES), of(TEST_NAMES) or of(VAL_NAMES)
    named = {name for name in evaluated if not is_no_class(name)}
    spelled = {spelled_alike(without_number(name)) for name in train}
    alike = any(spelled_alike(without_number(name)) in spelled for name in evaluated)
    return bool(train) and len(named) > 1 and not alike


def _folders(folder: Path) -> set[str]:
    return {child.name for child in folders_in(folder)}


def _data_sets_below(root: Path) -> list[str]:
    """Return folders in `root` that are published data sets, like CUHK03's two."""
    published = [row for row in FORMS if row.name not in ("csv", "folders")]
    return sorted(c.name for c in folders_in(root) if any(row.fits(c) for row in published))


def _split_by_class(layout: RetrievalLayout, share: float) -> RetrievalLayout:
    if not 0 < share < 1:
        raise ArgumentError(f"The share of test classes must lie between 0 and 1, not {share}.")
    if not layout.shared or layout.train:
        raise DataError(
            f"{layout.root} has its own splits to search in: {', '.join(layout.subsets)}.",
            hint="Leave out --test-classes.",
        )
    names = sorted({sample.identity for sample in layout.query})
    # The last classes, not a random choice: as Stanford Cars and CUB are split for retrieval.
    count = min(max(1, round(share * len(names))), len(names) - 1)
    searched = set(names[len(names) - count :])
    test = tuple(sample for sample in layout.query if sample.identity in searched)
    train = tuple(sample for sample in layout.query if sample.identity not in searched)
    return replace(layout, train=train, query=test, gallery=test)
