"""What is worth knowing about a data set, a function for each kind of finding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from covtool.auditing.images import NO_LABEL, Images
from covtool.auditing.looking import Looks
from covtool.auditing.records import Finding, Group, LabelSuspect, Outlier, Severity
from covtool.data.datasets.folders.names import UNSPLIT, exact_split, implied_split
from covtool.data.datasets.found_images import counted, shown
from covtool.data.datasets.survey import Survey
from covtool.data.images.dim import note_on_dim
from covtool.data.images.frames import note_on_frames
from covtool.printable import printable

EXAMPLES = 5
UNEVEN = 10
"""How many times more training images the largest class has than the smallest to be uneven."""
FEW = 5
"""Training images, below which a class has few."""
TINY = 32
"""Pixels of the shorter side, below which an image is tiny."""

_ALIKE = {
    "bytes": "equal, byte for byte",
    "pixels": "equal in every pixel",
    "near": "alike",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the findings are drawn from; see `covtool.auditing.records.Audit`."""

    survey: Survey
    images: Images
    looks: Looks
    groups: Sequence[Group]
    suspects: Sequence[LabelSuspect] = ()
    unlike_class: Sequence[Outlier] = ()
    unlike_all: Sequence[Outlier] = ()

    @property
    def searches(self) -> bool:
        """Whether the data set is for retrieval."""
        return self.survey.task == "retrieval"


def findings_in(found: Found) -> tuple[Finding, ...]:
    """Return the findings, leaks first, then problems, then remarks."""
    every = [finding for find in FINDERS for finding in find(found)]
    order: tuple[Severity, ...] = ("leak", "problem", "remark")
    return tuple(sorted(every, key=lambda finding: order.index(finding.severity)))


def _refusal(found: Found) -> Iterator[Finding]:
    if text := found.survey.refusal:
        task = "evaluate" if found.searches else "finetune"
        yield _finding("problem", "refused", 1, f"covtool {task} would refuse it: {text}")


def _copies_across(found: Found) -> Iterator[Finding]:
    for kind, how in _ALIKE.items():
        across = [g for g in found.groups if g.kind == kind and g.crosses_splits]
        if not across:
            continue
        count = sum(len(group.images) for group in across)
        # Frames of one walk look alike, and a search leaves out those of the query's own camera.
        severity: Severity = "problem" if found.searches and kind == "near" else "leak"
        yield _finding(
            severity,
            f"{kind}-across-splits",
            count,
            f"{counted(count, 'image')} in {counted(len(across), 'group')} across splits are "
            f"{how}: figures on them say nothing.",
            [_members(group) for group in across],
        )


def _copies_searched(found: Found) -> Iterator[Finding]:
    """Yield copies among images that are searched for among each other: they find themselves."""
    searched = [
        group
        for group in found.groups
        if found.searches
        and group.kind != "near"
        and not group.crosses_splits
        and group.images[0].split == "test"
    ]
    if searched:
        count = sum(len(group.images) for group in searched)
        yield _finding(
            "leak",
            "copies-searched",
            count,
            f"{counted(count, 'image')} to search with are there more than once: they find their "
            "own copies.",
            [_members(group) for group in searched],
        )


def _two_labels(found: Found) -> Iterator[Finding]:
    for kind, how in _ALIKE.items():
        groups = [g for g in found.groups if g.kind == kind and g.has_two_labels]
        if groups:
            count = sum(len(group.images) for group in groups)
            yield _finding(
                "problem",
                f"{kind}-under-two-labels",
                count,
                f"{counted(count, 'image')} in {counted(len(groups), 'group')} are {how}, and "
                "have different labels.",
                [_members(group, labels=True) for group in groups],
            )


def _copies_within(found: Found) -> Iterator[Finding]:
    for kind, how in _ALIKE.items():
        groups = [
            g
            for g in found.groups
            if g.kind == kind and not g.crosses_splits and not g.has_two_labels
        ]
        if groups:
            count = sum(len(group.images) for group in groups)
            yield _finding(
                "remark",
                f"{kind}-within-a-split",
                count,
                f"{counted(count, 'image')} in {counted(len(groups), 'group')} of one split and "
                f"label are {how}.",
                [_members(group) for group in groups],
            )


def _unreadable(found: Found) -> Iterator[Finding]:
    problems = found.looks.problems
    if problems:
        yield _finding(
            "problem",
            "unreadable",
            len(problems),
            f"{counted(len(problems), 'image')} cannot be read.",
            [f"{found.images.name(at)}: {why}" for at, why in sorted(problems.items())],
        )


def _missing_classes(found: Found) -> Iterator[Finding]:
    images = found.images
    training = training_splits(images)
    if found.searches or not training or len(training) == len(images.split_names):
        return
    counts, of = images.counts, [images.split_names.index(name) for name in training]
    rest = [at for at in range(len(images.split_names)) if at not in of]
    trained, tested = counts[:, of].sum(axis=1) > 0, counts[:, rest].sum(axis=1) > 0
    for there, lacking, severity, text in (
        (tested, trained, "problem", "have images to test on and none to train on"),
        (trained, tested, "remark", "have images to train on and none to test on"),
    ):
        names = [images.class_names[at] for at in np.flatnonzero(there & ~lacking)]
        if names:
            name = "untrained-classes" if severity == "problem" else "untested-classes"
            verb = text if len(names) > 1 else text.replace("have", "has", 1)
            yield _finding(
                severity, name, len(names), f"{counted(len(names), 'class')} {verb}.", names
            )


def _empty_classes(found: Found) -> Iterator[Finding]:
    names = [
        name if split == UNSPLIT else f"{split}/{name}"
        for split, classes in found.survey.empty.items()
        for name in classes
    ]
    if names:
        text = f"{counted(len(names), 'class folder')} without images."
        yield _finding("problem", "empty-classes", len(names), text, names)


def _uneven_classes(found: Found) -> Iterator[Finding]:
    images = found.images
    of = [images.split_names.index(name) for name in training_splits(images)]
    if found.searches or not of or not len(images.class_names):
        return
    counts = images.counts[:, of].sum(axis=1)
    names = np.array(images.class_names, dtype=object)[counts > 0]
    counts = counts[counts > 0]
    if len(counts) > 1 and counts.max() >= UNEVEN * counts.min():
        most, least = int(counts.argmax()), int(counts.argmin())
        yield _finding(
            "remark",
            "uneven-classes",
            len(counts),
            f"Classes are uneven: {printable(names[most])!r} has {counts[most]:,} training "
            f"images, {printable(names[least])!r} has {counts[least]:,}.",
        )
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW]
    if few:
        text = f"{counted(len(few), 'class')} {_have(few)} fewer than {FEW} images to train on."
        yield _finding("remark", "small-classes", len(few), text, few)


def _identities(found: Found) -> Iterator[Finding]:
    if not found.searches:
        return
    if shared := found.survey.shared:
        yield _finding(
            "leak",
            "shared-identities",
            len(shared),
            f"{counted(len(shared), 'identity')} {'are' if len(shared) > 1 else 'is'} in training "
            "and test images both.",
            shared,
        )
    counts = found.images.counts.sum(axis=1)
    alone = [found.images.class_names[at] for at in np.flatnonzero(counts == 1)]
    if alone:
        text = f"{counted(len(alone), 'identity')} {_have(alone)} a single image."
        yield _finding("remark", "single-images", len(alone), text, alone)


def _unlabeled(found: Found) -> Iterator[Finding]:
    at = np.flatnonzero(found.images.labels == NO_LABEL)
    if len(at):
        what = "identity" if found.searches else "label"
        yield _finding(
            "remark",
            "unlabeled",
            len(at),
            f"{counted(len(at), 'image')} {_have(at)} no {what}.",
            [found.images.name(place) for place in at[:EXAMPLES]],
        )


def _turned(found: Found) -> Iterator[Finding]:
    at = np.flatnonzero(found.looks.turned)
    if len(at):
        verb = "are" if len(at) > 1 else "is"
        yield _finding(
            "remark",
            "turned",
            len(at),
            f"{counted(len(at), 'image')} {verb} stored in another orientation than the EXIF data "
            "say: --exif turns them.",
            [found.images.name(place) for place in at[:EXAMPLES]],
        )


def _of_pixels(found: Found) -> Iterator[Finding]:
    looks = found.looks
    for name, flags, note in (
        ("several-images-in-a-file", looks.frames, note_on_frames),
        ("nearly-black", looks.dim, note_on_dim),
    ):
        at = np.flatnonzero(flags)
        if len(at):
            examples = [found.images.name(place) for place in at[:EXAMPLES]]
            yield _finding("remark", name, len(at), note(len(at)) or "", examples)


def _tiny(found: Found) -> Iterator[Finding]:
    looks = found.looks
    sides = np.minimum(looks.widths, looks.heights)
    at = np.flatnonzero(looks.readable & (sides < TINY))
    if len(at):
        yield _finding(
            "remark",
            "tiny",
            len(at),
            f"{counted(len(at), 'image')} {_have(at)} a side shorter than {TINY} pixels.",
            [found.images.name(place) for place in at[:EXAMPLES]],
        )


def _links(found: Found) -> Iterator[Finding]:
    links = found.survey.left_out.not_followed
    if links:
        verb = "are" if len(links) > 1 else "is"
        yield _finding(
            "remark",
            "links-not-followed",
            len(links),
            f"{counted(len(links), 'link')} {verb} not followed: they lead to what is part of the "
            "data anyway.",
            [str(link) for link in links],
        )


def _suspects(found: Found) -> Iterator[Finding]:
    if found.suspects:
        count = len(found.suspects)
        yield _finding(
            "problem",
            "labels-in-doubt",
            count,
            f"{counted(count, 'image')} {'look' if count > 1 else 'looks'} like another class "
            "than that of the label.",
            [f"{s.path}: {s.label}, looks like {s.suggested}" for s in found.suspects],
        )


def _outliers(found: Found) -> Iterator[Finding]:
    for name, outliers, what in (
        ("unlike-class", found.unlike_class, "the others of their class"),
        ("unlike-all", found.unlike_all, "all others"),
    ):
        if outliers:
            count = len(outliers)
            yield _finding(
                "remark",
                name,
                count,
                f"{counted(count, 'image')} unlike {what}.",
                [one.path for one in outliers],
            )


FINDERS: tuple[Callable[[Found], Iterator[Finding]], ...] = (
    _copies_across,
    _copies_searched,
    _identities,
    _refusal,
    _unreadable,
    _two_labels,
    _missing_classes,
    _empty_classes,
    _suspects,
    _uneven_classes,
    _unlabeled,
    _copies_within,
    _turned,
    _of_pixels,
    _tiny,
    _links,
    _outliers,
)


def training_splits(images: Images) -> list[str]:
    """Return the names of the splits that are trained on; all of a data set without splits."""
    if not images.has_splits:
        return list(images.split_names)
    names = images.split_names
    return [name for name in names if (exact_split(name) or implied_split(name)) == "train"]


def _finding(
    severity: Severity, name: str, count: int, text: str, examples: Sequence[str] = ()
) -> Finding:
    few = tuple(printable(example) for example in examples[:EXAMPLES])
    return Finding(severity=severity, name=name, count=count, text=text, examples=few)


def _members(group: Group, *, labels: bool = False) -> str:
    named = [f"{one.path} ({one.label})" if labels else one.path for one in group.images]
    sign = "like" if group.kind == "near" else "="
    return shown(named, 2) if len(named) > 2 else f" {sign} ".join(named)


def _have(things: Sequence[object]) -> str:
    return "have" if len(things) > 1 else "has"
