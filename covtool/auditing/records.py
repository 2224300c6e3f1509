"""What an audit finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from covtool.data.datasets.finding import Finding

Kind = Literal["bytes", "pixels", "near"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """A class, and its images in each split, in the order of the splits."""

    name: str
    images: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Widths and heights of the images that can be read, in pixels: smallest, median, largest."""

    width: tuple[int, int, int]
    height: tuple[int, int, int]
    shortest_side: int
    largest_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An image of a group of duplicates, with its place among the images."""

    at: int
    path: str
    split: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Images that are the same, or nearly.

    Attributes:
        kind: ``bytes`` for equal files, ``pixels`` for equal pixels in other files, ``near`` for
            pictures that look alike.
        images: Two images or more.
    """

    kind: Kind
    images: tuple[Member, ...]

    @property
    def crosses_splits(self) -> bool:
        """Whether it has images of several splits."""
        return len({image.split for image in self.images}) > 1

    @property
    def has_two_labels(self) -> bool:
        """Whether its images have several labels."""
        return len({image.label for image in self.images if image.label}) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSuspect:
    """An image that looks like another class than its own.

    Attributes:
        at: Its place among the images.
        path: The image.
        split: Its split.
        label: Its class.
        suggested: The class that it looks like.
        margin: How much more; of left-out predictions between about -1 and 1.
    """

    at: int
    path: str
    split: str
    label: str
    suggested: str
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """An image unlike others.

    Attributes:
        at: Its place among the images.
        path: The image.
        split: Its split.
        label: Its class.
        similarity: Its cosine similarity with the others that it is compared with.
        deviations: How far that lies below the median, in robust standard deviations.
    """

    at: int
    path: str
    split: str
    label: str
    similarity: float
    deviations: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An image that cannot be read, and why."""

    at: int
    path: str
    split: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a data set holds.

    Attributes:
        root: The data set.
        layout: Its layout, in a line.
        why: What the layout was recognized by.
        task: ``classification`` or ``retrieval``.
        images: Number of images.
        splits: Number of images by split.
        classes: The classes, or identities, with their images in each split.
        cameras: Number of cameras; None where none is known.
        sizes: Sizes of the images; None where none was opened.
        formats: Number of images by format.
        modes: Number of images by Pillow's mode.
        left_out: Number of files that are no images by suffix, and the reason.
        findings: What is worth knowing, leaks first.
        unreadable: Images that cannot be read.
        groups: Duplicates.
        suspects: Labels in doubt, the worst first.
        unlike_class: Images unlike the others of their class, the worst first.
        unlike_all: Images unlike all others, the worst first.
        notes: What was assumed, and what was not looked at.
        seconds: Duration.
    """

    root: Path
    layout: str
    why: str
    task: str
    images: int
    splits: dict[str, int]
    classes: tuple[ClassCount, ...]
    cameras: int | None
    sizes: Sizes | None
    formats: dict[str, int]
    modes: dict[str, int]
    left_out: dict[str, tuple[int, str]]
    findings: tuple[Finding, ...]
    unreadable: tuple[Unreadable, ...]
    groups: tuple[Group, ...]
    suspects: tuple[LabelSuspect, ...] = ()
    unlike_class: tuple[Outlier, ...] = ()
    unlike_all: tuple[Outlier, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """The findings that make figures of this data set wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "leak")

    def groups_of(self, kind: Kind) -> tuple[Group, ...]:
        """Return the groups of a kind; wherever one has a number, it is its place here, from 1."""
        return tuple(group for group in self.groups if group.kind == kind)
