"""What is worth knowing about a data set, a function for each kind of finding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from covtool.auditing.images import NO_LABEL, Images
from covtool.auditing.looking import Looks
from covtool.auditing.records import Group, LabelSuspect, Outlier
from covtool.data.datasets import class_findings
from covtool.data.datasets.class_findings import EXAMPLES, ClassCounts, finding
from covtool.data.datasets.finding import Finding, Severity
from covtool.data.datasets.folders.names import UNSPLIT, exact_split, implied_split
from covtool.data.datasets.found_images import counted, shown
from covtool.data.datasets.survey import Survey
from covtool.data.images.dim import note_on_dim
from covtool.data.images.format_mix import note_on_formats
from covtool.data.images.frames import note_on_frames

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
    every = [one for find in FINDERS for one in find(found)]
    order: tuple[Severity, ...] = ("leak", "problem", "remark")
    return tuple(sorted(every, key=lambda one: order.index(one.severity)))


def _refusal(found: Found) -> Iterator[Finding]:
    if text := found.survey.refusal:
        task = "evaluate" if found.searches else "finetune"
        yield finding("problem", "refused", 1, f"covtool {task} would refuse it: {text}")


def _copies_across(found: Found) -> Iterator[Finding]:
    for kind, how in _ALIKE.items():
        across = [g for g in found.groups if g.kind == kind and g.crosses_splits]
        if not across:
            continue
        count = sum(len(group.images) for group in across)
        # Frames of one walk look alike, and a search leaves out those of the query's own camera.
        severity: Severity = "problem" if found.searches and kind == "near" else "leak"
        yield finding(
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
        yield finding(
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
            yield finding(
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
            yield finding(
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
        yield finding(
            "problem",
            "unreadable",
            len(problems),
            f"{counted(len(problems), 'image')} cannot be read.",
            [f"{found.images.name(at)}: {why}" for at, why in sorted(problems.items())],
        )


def _of_classes(found: Found) -> Iterator[Finding]:
    images = found.images
    training = [images.split_names.index(name) for name in training_splits(images)]
    if found.searches or not training:
        return
    counts = ClassCounts(
        class_names=images.class_names,
        split_names=images.split_names,
        counts=images.counts,
        training=training,
    )
    for find in class_findings.FINDERS:
        yield from find(counts)


def _empty_classes(found: Found) -> Iterator[Finding]:
    names = [
        name if split == UNSPLIT else f"{split}/{name}"
        for split, classes in found.survey.empty.items()
        for name in classes
    ]
    if names:
        text = f"{counted(len(names), 'class folder')} without images."
        yield finding("problem", "empty-classes", len(names), text, names)


def _identities(found: Found) -> Iterator[Finding]:
    if not found.searches:
        return
    if shared := found.survey.shared:
        yield finding(
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
        yield finding("remark", "single-images", len(alone), text, alone)


def _unlabeled(found: Found) -> Iterator[Finding]:
    at = np.flatnonzero(found.images.labels == NO_LABEL)
    if len(at):
        what = "identity" if found.searches else "label"
        yield finding(
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
        yield finding(
            "remark",
            "turned",
            len(at),
            f"{counted(len(at), 'image')} {verb} stored in another orientation than the EXIF data "
            "say: --exif turns them.",
            [found.images.name(place) for place in at[:EXAMPLES]],
        )


def _formats(found: Found) -> Iterator[Finding]:
    looks = found.looks
    numbers = np.bincount(looks.formats[looks.readable], minlength=len(looks.format_names))
    counts = {name: int(count) for name, count in zip(looks.format_names, numbers, strict=True)}
    if note := note_on_formats({name: count for name, count in counts.items() if count}):
        yield finding("remark", "several-formats", sum(counts.values()), note)


def _of_pixels(found: Found) -> Iterator[Finding]:
    looks = found.looks
    for name, flags, note in (
        ("several-images-in-a-file", looks.frames, note_on_frames),
        ("nearly-black", looks.dim, note_on_dim),
    ):
        at = np.flatnonzero(flags)
        if len(at):
            examples = [found.images.name(place) for place in at[:EXAMPLES]]
            yield finding("remark", name, len(at), note(len(at)) or "", examples)


def _tiny(found: Found) -> Iterator[Finding]:
    looks = found.looks
    sides = np.minimum(looks.widths, looks.heights)
    at = np.flatnonzero(looks.readable & (sides < TINY))
    if len(at):
        yield finding(
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
        yield finding(
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
        yield finding(
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
            yield finding(
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
    _of_classes,
    _empty_classes,
    _suspects,
    _unlabeled,
    _copies_within,
    _turned,
    _formats,
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


def _members(group: Group, *, labels: bool = False) -> str:
    named = [f"{one.path} ({one.label})" if labels else one.path for one in group.images]
    sign = "like" if group.kind == "near" else "="
    return shown(named, 2) if len(named) > 2 else f" {sign} ".join(named)


def _have(things: Sequence[object]) -> str:
    return "have" if len(things) > 1 else "has"
