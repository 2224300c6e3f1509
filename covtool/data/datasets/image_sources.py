"""Images for embedding and search, from a data set, a folder, a list or a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from covtool.data.datasets.error_translation import translate_path_errors
from covtool.data.datasets.folders.classes import images_below, loose_images
from covtool.data.datasets.folders.labeled import labeled_in_folders
from covtool.data.datasets.folders.left_out import notes_on_left_out
from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.hygiene import note_on_outside
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL
from covtool.data.datasets.lists.labeled import (
    TableSpec,
    is_table,
    meanings_in,
    read_table,
    require_files,
)
from covtool.data.datasets.lists.text import lines_of, note_on_encoding
from covtool.data.datasets.places import RecordSource, no_images_at, no_images_in, record_source
from covtool.data.datasets.published import find_published
from covtool.data.datasets.reading import scan
from covtool.data.datasets.records.sources import scan_records
from covtool.data.datasets.retrieval.labeled import CSV_SPLITS
from covtool.data.datasets.retrieval.reading import read_retrieval, task_of
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.data.images.decoding import is_image
from covtool.errors import DataError

Samples = tuple[RetrievalSample, ...]


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Images with their identities, as far as these are known.

    Attributes:
        root: Path that was given.
        folder: Folder that paths of images are relative to.
        splits: Images by split, under `UNSPLIT` where there are no splits; an identity is empty
            where it is unknown.
        notes: Notes for the user on what was read and what was left out.
    """

    root: Path
    folder: Path
    splits: Mapping[str, Samples]
    notes: tuple[str, ...] = ()

    def chosen(self, split: str | None) -> dict[str, Samples]:
        """Return the images of a split, or of all for None.

        Raises:
            DataError: There is none of that name.
        """
        if split is None:
            return dict(self.splits)
        if split not in self.splits:
            raise DataError(
                f"{self.root} has no split called {split!r}.",
                hint=f"It has: {', '.join(self.splits)}.",
            )
        return {split: self.splits[split]}


def find_images(root: Path) -> ImageSource:
    """Find the images that a path stands for.

    Args:
        root: A data set for retrieval or classification, also ``wds/FOLDER`` and ``hfds/NAME``; any
            other folder, of which all images are taken; a CSV file with the column ``path`` and
            perhaps ``identity`` or ``label``, ``camera`` and ``split``; a text file (.txt) with a
            path per line, relative to it, and perhaps a label; or an image.

    Raises:
        DataError: There is nothing, there are no images, or a list has a mistake.
    """
    with translate_path_errors(root):
        if source := record_source(root):
            splits, notes = _in_records(source)
            return ImageSource(
                root=source.root, folder=source.root, splits=MappingProxyType(splits), notes=notes
            )
        return _find_images(Path(root))


def _find_images(root: Path) -> ImageSource:
    if not root.exists():
        raise no_images_at(root)
    folder = root if root.is_dir() else root.parent
    splits, notes = _in_folder(root) if root.is_dir() else _in_file(root)
    paths = (sample.path for samples in splits.values() for sample in samples)
    outside = (note for note in note_on_outside(paths, folder) if note not in notes)
    return ImageSource(
        root=root, folder=folder, splits=MappingProxyType(splits), notes=(*notes, *outside)
    )


Found = tuple[dict[str, Samples], tuple[str, ...]]


def _in_records(source: RecordSource) -> Found:
    found = scan_records(source)
    names = found.class_names
    splits = {
        own: tuple(RetrievalSample(s.path, names[s.label]) for s in found.splits[key])
        for key, own in found.split_names.items()
    }
    return splits, found.notes


def _in_folder(root: Path) -> Found:
    if task_of(root) == "retrieval":
        layout = read_retrieval(root)
        return dict(layout.subsets), layout.notes
    every, left_out = images_below(root), tuple(notes_on_left_out(root))
    # Images beside the class folders have no class: then none has.
    if loose_images(root) or not every:
        return {UNSPLIT: _unlabeled(_some(every, root))}, left_out
    try:
        splits, notes = _labeled(root)
    except DataError as problem:  # of any other folder, all images are taken
        note = f"All images of {root} are taken, without labels: {problem.message}"
        return {UNSPLIT: _unlabeled(every)}, (note, *left_out)
    return splits, tuple(dict.fromkeys((*notes, *left_out)))  # both may note the same


def _labeled(root: Path) -> Found:
    if find_published(root) is None:
        found = labeled_in_folders(root)
        splits = found.splits
    else:
        found = scan(root)
        names = found.class_names
        splits = {
            own: [(sample.path, names[sample.label]) for sample in found.splits[key]]
            for key, own in found.split_names.items()
        }
    samples = {
        split: tuple(RetrievalSample(path, label) for path, label in images)
        for split, images in splits.items()
    }
    return samples, found.notes


def _unlabeled(paths: list[Path]) -> Samples:
    return tuple(RetrievalSample(path, "") for path in paths)


def _in_file(root: Path) -> Found:
    if is_image(root):
        return {UNSPLIT: (RetrievalSample(root, ""),)}, ()
    if find_published(root):  # before tables, of which some are published
        return _labeled(root)
    if is_table(root):
        return _in_csv(root)
    if root.suffix.lower() == ".txt":
        return {UNSPLIT: _in_list(root)}, tuple(note_on_encoding(root))
    raise no_images_in(root)


def _in_csv(root: Path) -> Found:
    columns = meanings_in(root)
    identity = next((name for name in (IDENTITY, LABEL) if name in columns), None)
    optional = (*(() if identity is None else (identity,)), "camera")
    table = TableSpec(columns=("path",), optional=optional, split_names=CSV_SPLITS)
    read = read_table(root, table, default=UNSPLIT)
    splits = {
        split: tuple(
            RetrievalSample(
                root.parent / row["path"], row.get(identity, ""), row.get("camera") or None
            )
            for row in rows
        )
        for split, rows in read.splits.items()
    }
    return splits, read.notes


def _in_list(root: Path) -> Samples:
    lines = lines_of(root)
    paths = [root.parent / line for line in lines]
    require_files(root, paths, root.parent)
    return tuple(RetrievalSample(path, "") for path in _some(paths, root))


def _some(paths: list[Path], root: Path) -> list[Path]:
    if not paths:
        raise DataError(f"There are no images in {root}.")
    return paths
