"""Images that are there more than once: equal files, equal pixels, pictures that look alike."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from covtool.auditing.images import Images
from covtool.auditing.looking import Looks
from covtool.auditing.perceptual_hashes import close_pairs, thumbnails_agree
from covtool.auditing.records import Group, Kind, Member
from covtool.data.datasets.duplicates import ListedFile, equal_files
from covtool.progress import Track, silent

Pairs = Iterable[tuple[int, int]]

MOST_HASHED = 400_000
"""Images whose hashes are compared, each with each: about two minutes of one core."""


class Copies:
    """Groups of n images, joined from equal ones to similar ones.

    Images that are equal count as one in what follows, so that no pair is reported twice.
    """

    def __init__(self, count: int) -> None:
        self.first = np.arange(count)
        """The first of the images that are equal to each, shape (n,)."""
        self.found: list[tuple[Kind, tuple[int, ...]]] = []

    def join_(self, kind: Kind, groups: Iterable[Sequence[int]]) -> None:
        """Add groups of images; one whose images are known to be equal adds nothing."""
        for group in groups:
            firsts = sorted({int(self.first[at]) for at in group})
            if len(firsts) < 2:
                continue
            self.found.append((kind, tuple(sorted(firsts if kind != "bytes" else group))))
            if kind != "near":  # what looks alike is not equal: it would join more and more
                self.first[np.isin(self.first, firsts)] = firsts[0]

    def groups(self, images: Images) -> tuple[Group, ...]:
        """Return the groups, those that cross splits or labels first."""
        made = [
            Group(kind=kind, images=tuple(_member(images, at) for at in group))
            for kind, group in self.found
        ]
        order = ("bytes", "pixels", "near")
        return tuple(
            sorted(
                made,
                key=lambda g: (not g.crosses_splits, not g.has_two_labels, order.index(g.kind)),
            )
        )


def same_files(images: Images, track: Track = silent) -> list[list[int]]:
    """Return groups of files that are equal, byte for byte."""
    # The place stands for the label: what matters here is which images they are.
    files = [ListedFile("", path, at) for at, path in enumerate(images.paths)]
    return [[file.label for file in group] for group in equal_files(files, every=True, track=track)]


def same_pixels(looks: Looks) -> list[list[int]]:
    """Return groups of images whose decoded pixels are equal."""
    return _by_key((at, looks.pixels[at].tobytes()) for at in np.flatnonzero(looks.readable))


def alike_by_hash(looks: Looks, copies: Copies, most: int) -> list[list[int]]:
    """Return groups of images whose perceptual hashes differ in few bits, one of equal images."""
    is_first = copies.first == np.arange(len(copies.first))
    places = np.flatnonzero(looks.hashed & is_first)
    close = close_pairs(looks.hashes[places], most)
    pairs = ((int(places[i]), int(places[j])) for i, j, _ in close)
    small = looks.thumbnails
    return components(pair for pair in pairs if thumbnails_agree(*small[list(pair)]))


def components(pairs: Pairs) -> list[list[int]]:
    """Return the groups that pairs connect.

    Example:
        >>> components([(1, 2), (5, 4), (2, 7)])
        [[1, 2, 7], [4, 5]]
    """
    parent: dict[int, int] = {}

    def root(at: int) -> int:
        while parent.setdefault(at, at) != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return _by_key((at, root(at)) for at in sorted(parent))


def _by_key(keyed: Iterable[tuple[int, Hashable]]) -> list[list[int]]:
    parts = defaultdict(list)
    for at, key in keyed:
        parts[key].append(int(at))
    return [part for part in parts.values() if len(part) > 1]


def _member(images: Images, at: int) -> Member:
    return Member(at=at, path=images.name(at), split=images.split(at), label=images.label(at))
