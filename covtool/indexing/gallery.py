"""Images for an index, of several data sets, folders and lists, each under one path."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.folders.names import UNSPLIT
from covtool.data.datasets.found_images import counted
from covtool.data.datasets.image_sources import ImageSource, find_images
from covtool.data.datasets.retrieval.training import numbered
from covtool.data.datasets.retrieval_layout import RetrievalSample
from covtool.data.datasets.samples import Sample
from covtool.errors import ArgumentError, DataError
from covtool.evaluation.features.table import ImageLabels
from covtool.evaluation.retrieval.search import image_label
from covtool.full_paths import absolute
from covtool.printable import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImages:
    """Images with labels.

    Attributes:
        folder: Folder that the labels' paths are relative to, in full.
        samples: The images; their labels are positions in `labels`.
        labels: Labels of the images.
        notes: Notes on what was read and what was left out.
    """

    folder: Path
    samples: tuple[Sample, ...]
    labels: tuple[ImageLabels, ...]
    notes: tuple[str, ...]


def collect_images(
    paths: Sequence[Path], *, split: str | None = None, folder: Path | None = None
) -> FoundImages:
    """Return the images that paths stand for, each once.

    Args:
        paths: Data sets, folders, lists and images; see `find_images`.
        split: A split of each of them; None for all.
        folder: Folder that labels' paths are relative to; None for the data set's own, and for
            that which all of several are in.

    Raises:
        DataError: There are no images, or an image has two identities or two cameras.
        ArgumentError: Nothing is given, or the images have no folder in common.
    """
    if not paths:
        raise ArgumentError("There are no images.", hint="Name folders, lists or images.")
    sources = [find_images(path) for path in paths]
    root = folder or _common_folder(sources)
    found: dict[str, tuple[RetrievalSample, ImageLabels]] = {}
    given = 0
    for source in sources:
        for name, samples in source.chosen(split).items():
            for sample in samples:
                label = image_label(sample, "" if name == UNSPLIT else name, root)
                given += 1
                known = found.setdefault(label.path, (sample, label))[1]
                found[label.path] = (sample, _merged(known, label))
    _require_text(found)
    notes = [note for source in sources for note in source.notes]
    if given > len(found):
        notes.append(f"{counted(given - len(found), 'image')} named more than once: taken once.")
    return FoundImages(
        folder=root,
        samples=numbered([sample for sample, _ in found.values()]),
        labels=tuple(label for _, label in found.values()),
        notes=tuple(dict.fromkeys(notes)),
    )


def path_in(folder: Path, path: Path | str) -> str:
    """Return the path of an image as an index of this folder has it."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _require_text(paths: Iterable[str]) -> None:
    """Refuse names that no JSON document holds, before hours of work."""
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError as problem:
            raise DataError(
                f"The name of {printable(path)} is not UTF-8, so that an index cannot hold it.",
                hint="Rename it.",
            ) from problem


def _common_folder(sources: Sequence[ImageSource]) -> Path:
    folders = [absolute(Path(source.folder)) for source in sources]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as problem:  # two drives
        raise ArgumentError(
            "The images have no folder in common.", hint="Make an index of each."
        ) from problem


def _merged(known: ImageLabels, label: ImageLabels) -> ImageLabels:
    """Return the labels of an image that was named twice."""
    both = {}
    for name, one, other in zip(ImageLabels._fields, known, label, strict=True):
        if one and other and one != other and name != "split":
            raise DataError(
                f"{printable(label.path)} is named twice: with the {name} {printable(one)}, and "
                f"with {printable(other)}.",
                hint="Name it once, or with the same labels.",
            )
        both[name] = one or other
    return ImageLabels(**both)
