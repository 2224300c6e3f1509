"""A list of the images of a data set without those in doubt. Nothing is deleted."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from covtool.atomic import written_whole
from covtool.auditing.audited import Audited
from covtool.auditing.findings import training_splits
from covtool.auditing.images import NO_LABEL
from covtool.data.datasets.folders.names import SPLIT_NAMES, implied_split
from covtool.data.datasets.found_images import counted, shown
from covtool.errors import ArgumentError
from covtool.full_paths import absolute, relative_name

LABELED = ("path", "label", "split")
IDENTIFIED = ("path", "identity", "camera", "split")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanList:
    """A list that was written.

    Attributes:
        path: The list.
        images: Images in it.
        left_out: Number of images that are not in it, by the reason.
        notes: What the list lacks now.
    """

    path: Path
    images: int
    left_out: dict[str, int]
    notes: tuple[str, ...]


def write_clean_list(audited: Audited, path: Path, *, overwrite: bool = False) -> CleanList:
    """Write the images of a data set that are not in doubt, as a CSV file that training reads.

    Left out are images that cannot be read or have no label, labels in doubt, images that are
    equal under different labels, and of copies across splits those that are trained on: figures
    of the images to test on stay comparable.

    Args:
        audited: What was found.
        path: The list; paths in it are relative to its folder.
        overwrite: Whether to replace an existing file.

    Raises:
        ArgumentError: The images are no files of their own, or parts of files; or none is left.
        OutputExistsError: The file exists.
        SaveError: The system refuses to write.
    """
    images = audited.images
    _require_files(audited)
    reasons = _reasons(audited)
    if len(reasons) == len(images):
        raise ArgumentError(
            f"No image of {audited.audit.root} is left: {_counted(reasons)}.",
            hint="Are there labels, and can the images be read?",
        )
    columns = IDENTIFIED if audited.audit.task == "retrieval" else LABELED
    columns = columns if images.has_splits else columns[:-1]
    with (
        written_whole(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_rows(audited, reasons, Path(os.path.realpath(path)).parent))
    return CleanList(
        path=path,
        images=len(images) - len(reasons),
        left_out=dict(Counter(reasons.values()).most_common()),
        notes=tuple(_lost_classes(audited, reasons)),
    )


def _require_files(audited: Audited) -> None:
    # A box of an image, a record of a shard: a list of files cannot name them.
    if any(type(path) is not type(Path()) for path in audited.images.paths):
        raise ArgumentError(
            f"The images of {audited.audit.root} are no files of their own: a list cannot name "
            "them.",
            hint="Leave out --write-clean, and --crop where it is given.",
        )


def _reasons(audited: Audited) -> dict[int, str]:
    """Return why images are left out, by their places; the first reason counts."""
    reasons: dict[int, str] = {}
    for at, reason in chain(_of_images(audited), _of_groups(audited)):
        reasons.setdefault(at, reason)
    return reasons


def _of_images(audited: Audited) -> Iterator[tuple[int, str]]:
    audit = audited.audit
    yield from ((one.at, "cannot be read") for one in audit.unreadable)
    if audit.task != "retrieval":  # junk and distractors belong to a search
        unlabeled = np.flatnonzero(audited.images.labels == NO_LABEL)
        yield from ((int(at), "no label") for at in unlabeled)
    for group in audit.groups:
        if group.has_two_labels and group.kind != "near":
            yield from ((member.at, "equal under different labels") for member in group.images)
    yield from ((suspect.at, "label in doubt") for suspect in audit.suspects)


def _of_groups(audited: Audited) -> Iterator[tuple[int, str]]:
    trained = training_splits(audited.images)
    for group in audited.audit.groups:
        own = {member.split for member in group.images}
        # Without a training image in it, the first split keeps its own.
        dropped = own.intersection(trained) or own - {group.images[0].split}
        if group.crosses_splits:
            dropped_ones = (member for member in group.images if member.split in dropped)
            yield from ((member.at, "copy in another split") for member in dropped_ones)


def _rows(audited: Audited, reasons: dict[int, str], folder: Path) -> Iterator[dict[str, str]]:
    images = audited.images
    identities = (one for every in audited.survey.splits.values() for one in every)
    for at, image in enumerate(identities):
        if at not in reasons:
            yield {
                "path": relative_name(absolute(images.paths[at]), folder),
                "label": image.label,
                "identity": image.label,
                "camera": image.camera or "",
                "split": _split_name(images.split(at)),
            }


def _split_name(own: str) -> str:
    """Return a name of a split that a list may have; the own one where it may."""
    return own if own.lower() in SPLIT_NAMES else implied_split(own) or own


def _lost_classes(audited: Audited, reasons: dict[int, str]) -> Iterator[str]:
    images = audited.images
    left = np.ones(len(images), bool)
    left[list(reasons)] = False
    for number, split in enumerate(images.split_names):
        of = images.splits == number
        before = set(images.labels[of].tolist()) - {NO_LABEL}
        lost = sorted(before - set(images.labels[of & left].tolist()))
        if lost:
            names = shown(images.class_names[label] for label in lost)
            count = counted(len(lost), "class")
            verb = "have" if len(lost) > 1 else "has"
            yield f"{count} of {split!r} {verb} no image left: {names}."


def _counted(reasons: dict[int, str]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in Counter(reasons.values()).most_common())
