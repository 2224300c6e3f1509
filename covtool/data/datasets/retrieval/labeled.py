"""CSV files and class folders as data sets for retrieval: a class is an identity."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from covtool.data.datasets.folders.labeled import labeled_in_folders
from covtool.data.datasets.folders.left_out import notes_on_left_out
from covtool.data.datasets.folders.names import SPLIT_NAMES, UNSPLIT, exact_split
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL
from covtool.data.datasets.lists.labeled import TableSpec, meanings_in, read_table
from covtool.data.datasets.retrieval_layout import RetrievalLayout, RetrievalSample
from covtool.errors import DataError
from covtool.specs.layout import LayoutSpec

QUERY, GALLERY = "query", "gallery"
CSV_SPLITS = (*SPLIT_NAMES, QUERY, GALLERY)

Found = Mapping[str, Sequence[RetrievalSample]]


def read_csv(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read a CSV file with the columns ``path,identity`` and perhaps ``camera`` and ``split``.

    A column ``label`` will do for the identities where there is none of that name.

    Raises:
        DataError: See `read_table`; or its splits contradict each other.
    """
    columns = meanings_in(root)
    # With both columns the identity counts: `task_of` has asked the user which task is meant.
    identity = LABEL if LABEL in columns and IDENTITY not in columns else IDENTITY
    table = TableSpec(columns=("path", identity), optional=("camera",), split_names=CSV_SPLITS)
    read = read_table(root, table, default=UNSPLIT)
    found = {
        split: [
            RetrievalSample(root.parent / row["path"], row[identity], row.get("camera") or None)
            for row in rows
        ]
        for split, rows in read.splits.items()
    }
    return replace(_from_splits(root, "csv", found), notes=read.notes)


def read_folders(root: Path, choice: LayoutSpec) -> RetrievalLayout:
    """Read a folder per class, in ``train`` and ``test`` (or ``val``), or without splits.

    Raises:
        DataError: See `labeled_in_folders`.
    """
    read = labeled_in_folders(root, choice)
    found = {
        split: [RetrievalSample(path, label) for path, label in images]
        for split, images in read.splits.items()
    }
    notes = (*read.notes, *notes_on_left_out(root))
    return replace(_from_splits(root, "folders", found), notes=notes)


def _from_splits(root: Path, kind: str, found: Found) -> RetrievalLayout:
    """Build a data set from splits: ``test`` (or ``val``) is searched for in itself."""
    subsets: dict[str, Sequence[RetrievalSample]] = {}
    for name, samples in found.items():
        subset = _subset_of(name)
        if subset in subsets:
            raise DataError(f"{root} has two splits that mean the same, {name!r} and another.")
        subsets[subset] = samples
    searched = [name for name in (QUERY, GALLERY) if name in subsets]
    if searched and "test" in subsets:
        raise DataError(
            f"{root} has a split 'test' beside {searched[0]!r}.",
            reason="In 'test', every image is searched for among the others.",
            hint="Name its images query and gallery, or all of them test.",
        )
    if not searched:
        # A test split is searched in; a validation split takes its place only where there is none.
        shared = subsets.pop("test", None) or subsets.pop("val", ())
        subsets |= {QUERY: shared, GALLERY: shared}
    return RetrievalLayout(
        root=root,
        kind=kind,
        shared=not searched,
        **{name: tuple(samples) for name, samples in subsets.items()},
    )


def _subset_of(split: str) -> str:
    name = split.lower()
    return "test" if name == UNSPLIT else exact_split(name) or name
