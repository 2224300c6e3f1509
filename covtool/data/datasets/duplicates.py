"""Image files that are equal, byte for byte, in two splits or under two labels."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from covtool.data.datasets.found_images import counted
from covtool.data.datasets.hygiene import short_path
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.retrieval_layout import RetrievalLayout
from covtool.data.images.threads import in_threads
from covtool.printable import printable
from covtool.progress import Track, silent
from covtool.regular_files import opened

COMPARED_AT_MOST = 200_000
"""Images of a data set whose files are compared before they are evaluated on: of more, that takes
longer than the evaluation."""

PIECE = 4096  # bytes from the middle, where pictures of one size differ if they do
CHUNK = 2**20  # bytes of a file that are read at a time
AT_ONCE = 64  # files that a thread looks at before it is asked again


class ListedFile(NamedTuple):
    """An image file of a split; `label` is None where labels say nothing."""

    split: str
    path: Path
    label: int | None


Group = list[ListedFile]


def notes_on_equal_files(
    layout: DataLayout, *, at_most: int | None = None, track: Track = silent
) -> tuple[str, ...]:
    """Compare the image files of a data set, and return notes on equal ones.

    A file is read only where another one has its size; whole, only where they are equal in the
    middle as well. Images that are no files of their own are not compared.

    Args:
        layout: The data set.
        at_most: Images to compare at most; of more there is a note that they are not compared.
        track: Display of the progress.
    """
    total = sum(map(len, layout.splits.values()))
    if at_most is not None and total > at_most:
        where = "are in two splits" if len(layout.splits) > 1 else "have two labels"
        return (
            f"Whether equal files {where} was not checked: there are {total:,} images. "
            "covtool data compares them.",
        )
    if not layout.has_files:
        return ()
    labeled = layout.searched is None  # else labels of what is searched for are numbers
    files = [
        ListedFile(split, sample.path, sample.label if labeled else None)
        for split, samples in layout.splits.items()
        for sample in samples
    ]
    groups = equal_files(files, track=track)
    return (*_across_splits(groups, layout), *_under_two_labels(groups, layout))


def notes_on_equal_folds(
    layout: DataLayout, numbers: Sequence[int], *, track: Track = silent
) -> tuple[str, ...]:
    """Compare the training images of a data set that are cut into folds, as `notes_on_equal_files`.

    Args:
        layout: The data set.
        numbers: Fold of each training image.
        track: Display of the progress.
    """
    if not layout.has_files:
        return ()
    samples = zip(numbers, layout.splits["train"], strict=True)
    files = [ListedFile(str(fold), sample.path, sample.label) for fold, sample in samples]
    groups = equal_files(files, track=track)
    across = [group for group in groups if len({file.split for file in group}) > 1]
    notes = list(_under_two_labels(groups, layout))
    if across:
        count = sum(map(len, across))
        one, same = across[0][0], next(f for f in across[0] if f.split != across[0][0].split)
        pair = " is ".join(short_path(file.path, layout) for file in (one, same))
        notes.insert(
            0,
            f"{count:,} images in several folds are equal, byte for byte: figures on them say "
            f"nothing ({pair}).",
        )
    return tuple(notes)


def notes_on_equal_matches(
    layout: RetrievalLayout, *, at_most: int, track: Track = silent
) -> tuple[str, ...]:
    """Compare queries with the images that are searched, and return notes on equal files.

    Args:
        layout: The data set.
        at_most: Images to compare at most; of more there is a note that they are not compared.
        track: Display of the progress.
    """
    searched = layout.searched
    if len(searched) > at_most:
        return (f"Whether files are there twice was not checked: there are {len(searched):,}.",)
    names = ["gallery" if at >= len(layout.query) else "query" for at in range(len(searched))]
    files = [
        ListedFile(name, sample.path, number)  # a label each, so that all equal files matter
        for number, (name, sample) in enumerate(zip(names, searched, strict=True))
    ]
    groups = equal_files(files, track=track)
    # An equal file among the queries alone cannot be found, unless they are searched themselves.
    found = [
        (query, next(file for file in group if file is not query))
        for group in groups
        if layout.shared or any(file.split == "gallery" for file in group)
        for query in group
        if query.split == "query"
    ]
    if not found:
        return ()
    one, same = (printable(os.path.relpath(file.path, layout.folder)) for file in found[0])
    return (
        f"{len(found):,} of {len(layout.query):,} queries {'have' if len(found) > 1 else 'has'} "
        f"an equal file to be found, byte for byte: that says nothing ({one} is {same}).",
    )


def equal_files(
    files: Sequence[ListedFile], *, every: bool = False, track: Track = silent
) -> list[Group]:
    """Find groups of equal files that differ in split or label.

    Args:
        files: Files to compare; those that cannot be read, and empty ones, equal none.
        every: Whether groups of one split and label are found as well.
        track: Display of the progress.
    """
    # From cheap to expensive, each only within groups that the one before could not tell apart:
    # of most data sets, no file is read whole.
    groups = [list(files)]
    for key, name in (
        (_size, "sizes of files"),
        (_piece, "files of the same size"),
        (_content, "files that look equal"),
    ):
        groups = _split_up(groups, key, name, track, every=every)
    return groups


def _split_up(
    groups: Iterable[Group],
    key: Callable[[Path], Hashable],
    name: str,
    track: Track,
    *,
    every: bool,
) -> list[Group]:
    """Split each group by a key; parts of a single split and label matter for `every` only."""
    # By the chunk, not the file: handing a task to a thread takes longer than asking for a size.
    members = [(number, file) for number, group in enumerate(groups) for file in group]
    chunks = [members[at : at + AT_ONCE] for at in range(0, len(members), AT_ONCE)]
    found_in = in_threads(lambda chunk: [key(file.path) for _, file in chunk], chunks)
    keys = chain.from_iterable(track(found_in, name, len(chunks)))
    parts = defaultdict(list)
    for (number, file), found in zip(members, keys, strict=True):
        if found is not None:
            parts[number, found].append(file)

    def matters(part: Group) -> bool:
        return len(part) > 1 if every else len({(f.split, f.label) for f in part}) > 1

    return [part for part in parts.values() if matters(part)]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size or None  # empty files are equal, and no duplicates
    except OSError:
        return None


def _piece(path: Path) -> bytes | None:
    try:
        with opened(path) as file:
            # From the middle: headers of one camera or program are equal.
            file.seek(max(0, (path.stat().st_size - PIECE) // 2))
            return hashlib.blake2b(file.read(PIECE), digest_size=16).digest()
    except OSError:
        return None


def _content(path: Path) -> bytes | None:
    digest = hashlib.blake2b(digest_size=32)
    try:
        with opened(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.digest()


def _across_splits(groups: Sequence[Group], layout: DataLayout) -> Iterator[str]:
    names = list(layout.splits)
    for at, other in enumerate(names):
        for split in names[at + 1 :]:
            pairs = [
                (file, next(f for f in group if f.split == other))
                for group in groups
                if any(f.split == other for f in group)
                for file in group
                if file.split == split
            ]
            if pairs:
                one, same = (short_path(file.path, layout) for file in pairs[0])
                yield (
                    f"{counted(len(pairs), 'image')} of {layout.split_names[split]!r} "
                    f"{'are' if len(pairs) > 1 else 'is'} also in {layout.split_names[other]!r}, "
                    f"byte for byte: figures on them say nothing ({one} is {same})."
                )


def _under_two_labels(groups: Sequence[Group], layout: DataLayout) -> Iterator[str]:
    found = [group for group in groups if len({file.label for file in group}) > 1]
    if found:
        count = sum(map(len, found))
        one, other = found[0][0], next(f for f in found[0] if f.label != found[0][0].label)
        yield (
            f"{count:,} images have equal files under another label "
            f"({short_path(one.path, layout)} is {short_path(other.path, layout)})."
        )
