"""Checks of a data set's paths for mistakes that make its figures wrong; no image is opened."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from stat import S_ISLNK

import numpy as np

from covtool.data.datasets.folder_entries import links_among
from covtool.data.datasets.folders.classes import folders_in, holds_images
from covtool.data.datasets.folders.left_out import notes_on_left_out
from covtool.data.datasets.folders.names import is_no_class
from covtool.data.datasets.found_images import counted, shown
from covtool.data.datasets.garbage import without_collection
from covtool.data.datasets.image_paths import ImagePaths
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.records import labels_of
from covtool.data.datasets.samples import FileSamples, Sample, chosen_samples, path_texts
from covtool.data.datasets.spelling import spelled_alike
from covtool.errors import DataError
from covtool.printable import escaped, first_few, printable

SHOWN = 12
PATHS_SHOWN = 5


@without_collection()
def check_layout(layout: DataLayout, *, name_missing: bool = True) -> DataLayout:
    """Add notes on what a data set lacks and what is left out of it.

    Args:
        layout: The data set.
        name_missing: Whether classes that a split lacks are among them.

    Raises:
        DataError: An image is in two splits, or has two labels.
    """
    notes = [*layout.notes, *_classes_spelled_alike(layout)]
    if name_missing:
        notes += _classes_without_images(layout)
    if layout.has_files:
        notes += _listed_again(layout)
        every = chain.from_iterable(map(path_texts, layout.splits.values()))
        columns = [s.paths for s in layout.splits.values() if isinstance(s, FileSamples)]
        if len(columns) < len(layout.splits) or _some_are_outside(columns, layout.folder):
            notes += note_on_outside(every, layout.folder)
    if layout.kind == "folder":
        notes += _beside(layout)
    return replace(layout, notes=tuple(escaped(note, keep="\n") for note in notes))


def require_distinct(layout: DataLayout) -> int:
    """Refuse a data set with an image in two splits, or with two labels.

    Paths are followed to the file: ``a.jpg`` and ``./a.jpg`` are the same, and so is a link.

    Returns:
        The number of images that are listed more than once in a split with the same label.

    Raises:
        DataError: It names the first such images.
    """
    first: dict[tuple[str, str], tuple[str, Sample]] = {}
    in_two, labeled_twice, again = [], [], 0
    for split, samples in _perhaps_again(layout.splits).items():
        for sample, path in zip(samples, real_paths(samples), strict=True):
            known, before = first.setdefault(path, (split, sample))
            if before is sample:  # new: `setdefault` has just put it in
                continue
            if before.label != sample.label:
                labeled_twice.append((before, sample))
            elif known != split:
                in_two.append((known, split, sample))
            else:
                again += 1
    if labeled_twice:
        raise _two_labels(layout, labeled_twice)
    if in_two:
        raise _two_splits(layout, in_two)
    return again


def _perhaps_again(splits: Mapping[str, Sequence[Sample]]) -> dict[str, Sequence[Sample]]:
    """Return the images whose real path may be that of another one: those of equal hashes.

    A number of each image is held, where a table of a million paths would take hundreds of MB.
    """
    hashes = {split: _hashes(samples) for split, samples in splits.items()}
    ordered = np.sort(np.concatenate([np.empty(0, np.int64), *hashes.values()]))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return {
        split: chosen_samples(samples, np.flatnonzero(np.isin(hashes[split], twice)))
        for split, samples in splits.items()
    }


def _hashes(samples: Sequence[Sample]) -> np.ndarray:
    """Return a number for each image, (N,), equal where `real_paths` are."""
    if not isinstance(samples, FileSamples):
        return _hashes_of(real_paths(samples), len(samples))
    paths = samples.paths
    folder = np.array([hash(os.path.realpath(one)) for one in paths.folders], np.int64)
    names = np.fromiter(map(hash, paths.names()), np.int64, len(paths))
    hashes = _mixed(folder[paths.folder], names)
    links = np.fromiter(links_among(paths), np.int64)
    if links.size:
        hashes[links] = _hashes_of(real_paths(samples.only(links)), len(links))
    return hashes


def _hashes_of(paths: Iterable[tuple[str, str]], count: int) -> np.ndarray:
    numbers = np.fromiter((hash(part) for path in paths for part in path), np.int64, 2 * count)
    return _mixed(numbers[::2], numbers[1::2])


def _mixed(folders: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return one number for each folder and name; a factor for one, as a name may be a folder's."""
    return folders * np.int64(0x9E3779B97F4A7C1) + names  # wraps around


def real_paths(samples: Sequence[Sample]) -> Iterator[tuple[str, str]]:
    """Yield the real folder and name of each image.

    A link to a file of another name is taken for a file of its own: stores that keep equal files
    once, as those of git-annex and Hugging Face do, link to names that are made of the content.
    """
    real_folder = cache(os.path.realpath)  # it asks the system about every part of a path
    for path in path_texts(samples):  # text: millions of paths are slow
        folder, _, name = path.rpartition(os.sep)
        if S_ISLNK(os.lstat(path).st_mode):
            target, _, target_name = os.path.realpath(path).rpartition(os.sep)
            folder = target if target_name == name else folder
        yield real_folder(folder), name


def note_on_outside(paths: Iterable[Path | str], folder: Path) -> Iterator[str]:
    """Yield a note on images that are not below the folder of a data set.

    A list may name any file of the system, by an absolute path or with ``..``. That is allowed.
    Links are not followed.

    Args:
        paths: Paths of the images.
        folder: Folder of the data set.
    """
    begin = _beginning(folder)
    outside = [path for path in map(os.fspath, paths) if not _is_below(path, begin)]
    if outside:
        count, verb = counted(len(outside), "image"), "lie" if len(outside) > 1 else "lies"
        yield f"{count} {verb} outside of {folder}, like {printable(outside[0])}."


def _some_are_outside(columns: Iterable[ImagePaths], folder: Path) -> bool:
    """Return whether an image is not below a folder: of a million, their few folders are asked."""
    begin = _beginning(folder)
    return not all(_is_below(one + "-", begin) for paths in columns for one in paths.folders)


def _beginning(folder: Path) -> str:
    """Return what the path of everything below a folder begins with."""
    inside = os.path.normpath(folder)
    return "" if inside == os.curdir else inside.rstrip(os.sep) + os.sep


def _two_labels(layout: DataLayout, pairs: Sequence[tuple[Sample, Sample]]) -> DataError:
    shown = first_few(
        pairs, PATHS_SHOWN, show=lambda pair: _both_labels(layout, *pair), separator="; "
    )
    return DataError(
        f"{counted(len(pairs), 'image')} of {layout.root} {_have(len(pairs))} two labels.",
        reason=f"{shown}.",
        hint="Keep each image in one class.",
    )


def _both_labels(layout: DataLayout, one: Sample, other: Sample) -> str:
    first, second = (layout.class_names[sample.label] for sample in (one, other))
    path, again = (short_path(sample.path, layout) for sample in (one, other))
    if path == again:
        return f"{path} is {first!r} and {second!r}"
    return f"{path} is {first!r}, {again} is {second!r}"


def _two_splits(layout: DataLayout, found: Sequence[tuple[str, str, Sample]]) -> DataError:
    one, other, _ = found[0]
    shown = first_few(found, PATHS_SHOWN, show=lambda one: short_path(one[2].path, layout))
    return DataError(
        f"{counted(len(found), 'image')} of {layout.root} {'are' if len(found) > 1 else 'is'} in "
        f"{layout.split_names[one]!r} and in {layout.split_names[other]!r}.",
        reason=f"{shown}.",
        hint="Figures on what was trained on say nothing: keep each image in one split.",
    )


def _listed_again(layout: DataLayout) -> Iterator[str]:
    again = require_distinct(layout)
    if again:
        yield f"{counted(again, 'image')} {'are' if again > 1 else 'is'} listed more than once."


def _classes_without_images(layout: DataLayout) -> Iterator[str]:
    for key, samples in layout.splits.items():
        there = set(labels_of(samples).tolist())
        missing = [n for label, n in enumerate(layout.class_names) if label not in there]
        if missing:
            yield (
                f"{len(missing)} of {len(layout.class_names)} classes {_have(len(missing))} no "
                f"images in {layout.split_names[key]!r}: {shown(missing, SHOWN)}."
            )


def _classes_spelled_alike(layout: DataLayout) -> Iterator[str]:
    spelled = defaultdict(list)
    for name in layout.class_names:
        # Of a name of signs alone, like "+", nothing is left.
        spelled[spelled_alike(name) or name].append(name)
    alike = [" and ".join(map(repr, names)) for names in spelled.values() if len(names) > 1]
    if alike:
        yield f"Different classes that differ only in spelling: {shown(alike, SHOWN)}."


def _beside(layout: DataLayout) -> Iterator[str]:
    folders = [layout.root / own for own in layout.split_names.values()]
    folders = [folder for folder in folders if folder.is_dir()]
    yield from notes_on_left_out(layout.root, folders)
    for folder in folders:
        parts = (c for c in folders_in(folder) if not is_no_class(c.name))
        unknown = [child for child in parts if child.name not in layout.class_names]
        empty = sorted(child.name for child in unknown if not holds_images(child))
        if empty:
            yield f"Folders of {folder.name!r} without images: {shown(empty, SHOWN)}."


def _is_below(path: str, begin: str) -> bool:
    # Normalizing is slow for millions of paths, and few need it.
    if os.pardir in path or "//" in path or "/./" in path or not path.startswith(begin):
        path = os.path.normpath(path)
    climbs = not begin and (path.split(os.sep, 1)[0] == os.pardir or path.startswith(os.sep))
    return path.startswith(begin) and not climbs


def short_path(path: Path, layout: DataLayout) -> str:
    """Return a path relative to the folder of the data set."""
    return printable(os.path.relpath(path, layout.folder))


def _have(count: int) -> str:
    return "have" if count > 1 else "has"
