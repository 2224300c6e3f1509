"""All images of a data set as they lie, also of one that training and evaluation would refuse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from covtool.data.datasets.error_translation import translate_path_errors
from covtool.data.datasets.folders.labeled import LAYOUT_HINT, labeled_in_folders
from covtool.data.datasets.folders.left_out import LeftOut, find_left_out
from covtool.data.datasets.folders.names import SPLIT_NAMES, UNSPLIT
from covtool.data.datasets.found_images import FoundImages, counted, shown
from covtool.data.datasets.hygiene import check_layout
from covtool.data.datasets.image_sources import find_images
from covtool.data.datasets.layout import DataLayout, layout_of_images
from covtool.data.datasets.lists.labeled import is_table, read_labeled
from covtool.data.datasets.places import nothing_there, record_source
from covtool.data.datasets.published import find_published
from covtool.data.datasets.retrieval.forms import FORMS
from covtool.data.datasets.retrieval.reading import Task, read_retrieval, task_of
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.errors import CovtoolError, DataError
from covtool.specs.layout import LayoutSpec


class SurveyedImage(NamedTuple):
    """An image, the class or identity on it ("" if unknown), and its camera."""

    path: Path
    label: str
    camera: str | None = None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The images of a data set, by its own names of the splits.

    Attributes:
        root: Path that was given.
        folder: Folder that paths are relative to.
        layout: The layout that was found, in a line.
        why: What it was recognized by.
        task: What the data set is for.
        splits: Images by split, under `UNSPLIT` where there are no splits.
        has_files: Whether every image is a file of its own.
        empty: Class folders without images, by split.
        refusal: Why training or evaluation would refuse the data set; None where they would not.
        left_out: Files beside the images, and links that are not followed.
        shared: Identities in training and test images both, by mistake.
        notes: Notes on what was read and what was left out.
    """

    root: Path
    folder: Path
    layout: str
    why: str
    task: Task
    splits: Mapping[str, Sequence[SurveyedImage]]
    has_files: bool = True
    empty: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refusal: str | None = None
    left_out: LeftOut = field(default_factory=lambda: LeftOut({}, ()))
    shared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def survey(root: Path, choice: LayoutSpec | None = None, *, task: Task | None = None) -> Survey:
    """Find the images of a data set, whatever is wrong with their labels and splits.

    Args:
        root: A data set of either kind, or a folder or list of images.
        choice: Options of the layout, where it has any.
        task: What the data set is for; None for what its names say.

    Raises:
        DataError: There is nothing, there are no images, or a list has a mistake.
        ArgumentError: The data set does not offer such a choice.
    """
    choice = choice or LayoutSpec()
    with translate_path_errors(root):
        if source := record_source(root):
            from covtool.data.datasets.records.sources import scan_records  # slow: torch

            found = scan_records(source)
            why = f"its name begins with {found.kind}/"
            return _of_layout(source.root, found, f"{found.kind} records", why)
        root = Path(root)
        if not root.exists():
            raise nothing_there(root)
        if (task or task_of(root)) == "retrieval":
            return _of_search(root, choice)
        if published := find_published(root):
            row = published.row
            read = published.layout(root, choice)
            why = f"it has {', '.join(row.markers) or row.summary}"
            return _checked(_of_layout(root, read, f"{row.name} ({row.source})", why), read)
        return _labeled(root, choice)


def _of_layout(root: Path, found: DataLayout, layout: str, why: str) -> Survey:
    names = found.class_names
    splits = {
        own: [SurveyedImage(s.path, names[s.label]) for s in found.splits[key]]
        for key, own in found.split_names.items()
    }
    return Survey(
        root=root,
        folder=found.folder,
        layout=layout,
        why=why,
        task="classification",
        splits=splits,
        has_files=found.has_files,
        notes=found.notes,
    )


def _labeled(root: Path, choice: LayoutSpec) -> Survey:
    """Survey class folders or a CSV file; a folder of other images, without labels."""
    if root.is_dir():
        read = partial(labeled_in_folders, root, choice, may_be_empty=True)
    elif is_table(root):
        read = partial(_listed, root)
    else:
        read = None
    try:
        if read is None:
            raise DataError(f"{root} has no labels.")
        found = read()
    except DataError as problem:
        return _unlabeled(root, problem)
    kind = "folder" if root.is_dir() else "csv"
    build = partial(layout_of_images, root, kind, found)
    looked = Survey(
        root=root,
        folder=root if root.is_dir() else root.parent,
        **_described(root, found),
        task="classification",
        splits={
            name: [SurveyedImage(path, label) for path, label in images]
            for name, images in found.splits.items()
        },
        empty=found.empty,
        left_out=_beside(root, found) if root.is_dir() else LeftOut({}, ()),
        notes=found.notes,
    )
    try:
        layout = build()
    except DataError as problem:
        return _refused(looked, problem)
    return _checked(looked, layout)


def _listed(root: Path) -> FoundImages:
    read = read_labeled(root, split_names=SPLIT_NAMES, default=UNSPLIT)
    return FoundImages(splits=read.splits, notes=read.notes)


def _described(root: Path, found: FoundImages) -> dict[str, str]:
    splits = [name for name in found.splits if name != UNSPLIT]
    if not root.is_dir():
        return {"layout": "a list of labeled images", "why": "it has columns for path and label"}
    if not splits:
        return {
            "layout": "a folder per class, without splits",
            "why": "none of its folders has the name of a split",
        }
    return {
        "layout": "splits with a folder per class",
        "why": f"{shown(splits)} {'are names of splits' if len(splits) > 1 else 'is a split'}",
    }


def _checked(looked: Survey, layout: DataLayout) -> Survey:
    """Return a survey with the notes of the checks before training, or why they refuse."""
    try:
        notes = check_layout(layout, name_missing=False).notes  # they are findings of an audit
    except DataError as problem:
        return _refused(looked, problem)
    empty = {name: classes for name, classes in looked.empty.items() if classes}
    looked = Survey(**{**vars(looked), "notes": notes})
    if not empty:
        return looked
    name, classes = next(iter(empty.items()))
    where = f" of {name!r}" if name != UNSPLIT else ""
    count = counted(len(classes), "class folder")
    return _refused(looked, DataError(f"{count}{where} without images: {shown(classes)}."))


def _refused(looked: Survey, problem: CovtoolError) -> Survey:
    text = " ".join(filter(None, (problem.message, problem.reason)))
    return Survey(**{**vars(looked), "refusal": text})


def _unlabeled(root: Path, problem: DataError) -> Survey:
    """Survey images of which no labels can be read, and say why."""
    try:
        source = find_images(root)
    except DataError:
        if not root.is_dir() and not is_table(root):
            raise DataError(
                f"{root} is no data set: it is no folder, no list and no image.", hint=LAYOUT_HINT
            ) from None
        raise problem from None
    looked = Survey(
        root=root,
        folder=source.folder,
        layout="images without labels",
        why="no layout with labels fits",
        task="classification",
        splits={
            name: [SurveyedImage(s.path, s.identity, s.camera) for s in samples]
            for name, samples in source.splits.items()
        },
        left_out=find_left_out(root) if root.is_dir() else LeftOut({}, ()),
        notes=source.notes,
    )
    return _refused(looked, problem)


def _beside(root: Path, found: FoundImages) -> LeftOut:
    folders = [root / name for name in found.splits]
    return find_left_out(root, [folder for folder in folders if folder.is_dir()])


def _of_search(root: Path, choice: LayoutSpec) -> Survey:
    found = read_retrieval(root, choice=choice)
    form = next((row for row in FORMS if row.name == found.kind), None)
    looked = Survey(
        root=root,
        folder=found.folder,
        layout=f"{found.kind}, for retrieval",
        why="it has " + (", ".join(form.markers) if form and form.markers else "identities"),
        task="retrieval",
        splits={
            name: [SurveyedImage(*sample) for sample in samples]
            for name, samples in found.subsets.items()
        },
        left_out=find_left_out(root) if root.is_dir() else LeftOut({}, ()),
        shared=report_on(found).shared_identities,
        notes=found.notes,
    )
    try:
        require_searchable(found, report_on(found))
    except DataError as problem:
        return _refused(looked, problem)
    return looked
