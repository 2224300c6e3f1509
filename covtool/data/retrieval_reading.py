"""A path becomes a data set for retrieval; and whether it is one, where nobody says so."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from covtool.data.csv_layout import is_table, meanings_in
from covtool.data.hygiene import require_distinct
from covtool.data.layouts import TEST_NAMES, TRAIN_NAMES, VAL_NAMES, DataLayout, scan
from covtool.data.retrieval_forms import FORMS, IDENTITY, LABEL
from covtool.data.retrieval_layout import RetrievalLayout
from covtool.errors import ArgumentError, DataError

Task = Literal["classification", "retrieval"]

RETRIEVAL_HINT = (
    "For retrieval, covtool reads Market-1501, DukeMTMC-reID, CUHK03, MSMT17 and VeRi as they are\n"
    "published, a CSV file with the columns path,identity,camera,split, and class folders whose\n"
    "test classes are not in train/."
)


def task_of(root: Path) -> Task:
    """What a data set is for, told from names alone; no image is opened.

    Data for retrieval are the published forms, a CSV file with a column ``identity`` and none
    called ``label``, and class folders of which none in ``test`` (or ``val``, without a ``test``)
    is in ``train``. Everything else is for classification, also what is not there.

    Raises:
        DataError: A CSV file has both columns.
    """
    root = Path(root)
    if root.is_dir():
        published = next(row for row in FORMS if row.fits(root)).name != "folders"
        found = published or _data_sets_below(root) or _is_disjoint(root)
        return "retrieval" if found else "classification"
    if not (is_table(root) and root.is_file()):
        return "classification"
    columns = meanings_in(root)
    if IDENTITY in columns and LABEL in columns:
        raise DataError(
            f"{root} has a column {IDENTITY!r} and a column {LABEL!r}.",
            reason="The first is for retrieval, the second for classification.",
            hint="Say which one is meant: --task retrieval, or --task classification.",
        )
    return "retrieval" if IDENTITY in columns else "classification"


def read_retrieval(root: Path, *, test_classes: float | None = None) -> RetrievalLayout:
    """The images of a data set for retrieval.

    Args:
        root: In one of the `covtool.data.retrieval_forms.FORMS`, the first that fits.
        test_classes: Share of the classes to search in, the last in sorted order, where the data
            has no split; the others are for training. In (0, 1).

    Raises:
        DataError: Nothing there, no such form, or a mistake in it.
        ArgumentError: `test_classes` is out of range.
    """
    root = Path(root)
    if not root.exists():
        raise DataError(f"There is no data set at {root}.", hint="Check the path.")
    form = next((row for row in FORMS if row.fits(root)), None)
    if form is None:
        raise DataError(f"{root} is neither a folder nor a CSV file.", hint=RETRIEVAL_HINT)
    if form.name == "folders" and (below := _data_sets_below(root)):
        raise DataError(
            f"{root} is no data set itself, but holds {len(below)}: {', '.join(below)}.",
            hint=f"Choose one, like {root / below[0]}.",
        )
    layout = form.read(root)
    return layout if test_classes is None else _split_by_class(layout, test_classes)


def read_classes(
    root: Path,
    *,
    val_fraction: float | None = None,
    test_classes: float | None = None,
    seed: int = 0,
) -> DataLayout:
    """What a classifier is trained on: `scan`, or the training identities of data for retrieval.

    Args:
        root: A data set of either kind.
        val_fraction: Share of each class to set aside as ``val``, where there is none; in (0, 1).
        test_classes: As in `read_retrieval`; says that the data is for retrieval.
        seed: Of the choice that `val_fraction` asks for.

    Raises:
        DataError: See `scan`, `read_retrieval` and `require_distinct`.
        ArgumentError: A share is out of range.
    """
    root = Path(root)
    if test_classes is None and _is_labeled(root):
        return scan(root, val_fraction=val_fraction, seed=seed)
    layout = read_retrieval(root, test_classes=test_classes)
    training = layout.training_layout(val_fraction=val_fraction, seed=seed)
    require_distinct(training)
    return training


def _is_labeled(root: Path) -> bool:
    """Whether `scan` should read it; of a CSV file with both columns, too."""
    is_csv = is_table(root) and root.is_file()
    if not is_csv:
        return task_of(root) == "classification"
    columns = meanings_in(root)
    return LABEL in columns or IDENTITY not in columns


def _is_disjoint(root: Path) -> bool:
    """Whether none of the classes to evaluate on is one to train on."""
    classes = {child.name.lower(): _folders(child) for child in _children(root)}

    def of(names: tuple[str, ...]) -> set[str]:
        return set().union(*(classes.get(name, set()) for name in names))

    train, evaluated = of(TRAIN_NAMES), of(TEST_NAMES) or of(VAL_NAMES)
    return bool(train and evaluated) and not train & evaluated


def _folders(folder: Path) -> set[str]:
    return {child.name for child in _children(folder)}


def _children(folder: Path) -> list[Path]:
    return [c for c in folder.iterdir() if c.is_dir() and not c.name.startswith((".", "__"))]


def _data_sets_below(root: Path) -> list[str]:
    """Folders in `root` that are published data sets, like CUHK03's two."""
    published = [row for row in FORMS if row.name not in ("csv", "folders")]
    return sorted(c.name for c in _children(root) if any(row.fits(c) for row in published))


def _split_by_class(layout: RetrievalLayout, share: float) -> RetrievalLayout:
    if not 0 < share < 1:
        raise ArgumentError(f"The share of test classes must lie between 0 and 1, not {share}.")
    if not layout.shared or layout.train:
        raise DataError(
            f"{layout.root} says itself what to search in: {', '.join(layout.subsets)}.",
            hint="Leave out --test-classes.",
        )
    names = sorted({sample.identity for sample in layout.query})
    count = min(max(1, round(share * len(names))), len(names) - 1)
    searched = set(names[len(names) - count :])
    test = tuple(sample for sample in layout.query if sample.identity in searched)
    train = tuple(sample for sample in layout.query if sample.identity not in searched)
    return replace(layout, train=train, query=test, gallery=test)
