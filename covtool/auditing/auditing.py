"""An audit of a data set: what it holds, before anything is trained on it."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from covtool.auditing.audited import Audited
from covtool.auditing.copies import (
    MOST_HASHED,
    Copies,
    alike_by_hash,
    components,
    same_files,
    same_pixels,
)
from covtool.auditing.findings import Found, findings_in
from covtool.auditing.formats_left_out import reasons_of
from covtool.auditing.images import Images
from covtool.auditing.judging import Judged, judge_by_model, judge_by_predictions
from covtool.auditing.looking import Looks, look_at
from covtool.auditing.perceptual_hashes import has_hashes
from covtool.auditing.predictions_file import read_predictions
from covtool.auditing.records import Audit, ClassCount, Sizes, Unreadable
from covtool.auditing.request import AuditRequest
from covtool.data.datasets.survey import Survey, survey
from covtool.progress import Track, silent


def audit(request: AuditRequest, *, track: Track = silent) -> Audit:
    """Return what a data set holds; see `look_through`."""
    return look_through(request, track=track).audit


def look_through(request: AuditRequest, *, track: Track = silent) -> Audited:
    """Look at every image of a data set, and say what is worth knowing.

    Nothing is changed. Images are read one after the other; of each some 120 bytes and its path are
    kept, and with a model its embedding. What takes the square of their number is done a block at
    a time, and left out with a note where it would take too long.

    Args:
        request: The data set, and how closely it is looked at.
        track: Display of the progress.

    Raises:
        DataError: There is nothing, there are no images, or a list has a mistake.
        ArgumentError: The data set does not offer such a choice of its layout.
        CheckpointError: The model cannot be opened.
        NonFiniteError: The model's features are not finite.
    """
    start = time.perf_counter()
    found = survey(request.data, request.layout, task=request.task)
    images = Images.of(found)
    # Before the images: it is quicker to refuse.
    predictions = request.predictions and read_predictions(request.predictions, images)
    notes = list(found.notes)
    looks, copies = Looks.empty(len(images)), Copies(len(images))
    judged = Judged()
    if found.has_files:
        spec = request.spec
        hashes = spec.near and not spec.quick and has_hashes()
        looks = look_at(images.paths, pixels=not spec.quick, hashes=hashes, track=track)
        copies.join_("bytes", same_files(images, track))
        if not spec.quick:
            copies.join_("pixels", same_pixels(looks))
        if request.model is not None:
            judged = judge_by_model(request, images, looks, track)
        notes += _join_alike(request, looks, copies, judged, hashes=hashes)
    else:
        notes.append("The images are records of shards: they were counted, and not opened.")
    if predictions is not None:
        judged = judge_by_predictions(request, images, judged, predictions)
    groups = copies.groups(images)
    seen = Found(
        survey=found,
        images=images,
        looks=looks,
        groups=groups,
        suspects=judged.suspects,
        unlike_class=judged.unlike_class,
        unlike_all=judged.unlike_all,
    )
    done = Audit(
        root=found.root,
        layout=found.layout,
        why=found.why,
        task=found.task,
        images=len(images),
        splits={name: len(one) for name, one in found.splits.items()},
        classes=_classes(images),
        cameras=_cameras(found),
        sizes=_sizes(looks),
        formats=_counts(looks.format_names, looks.formats[looks.readable]),
        modes=_counts(looks.mode_names, looks.modes[looks.readable]),
        left_out=reasons_of(found.left_out.suffixes),
        findings=findings_in(seen),
        unreadable=tuple(_unreadable(images, looks)),
        groups=groups,
        suspects=judged.suspects,
        unlike_class=judged.unlike_class,
        unlike_all=judged.unlike_all,
        notes=(*notes, *judged.notes),
        seconds=time.perf_counter() - start,
    )
    return Audited(audit=done, survey=found, images=images, looks=looks)


def _join_alike(
    request: AuditRequest, looks: Looks, copies: Copies, judged: Judged, *, hashes: bool
) -> Iterator[str]:
    """Add groups of images that look alike; yield notes on what was not compared."""
    spec = request.spec
    if spec.quick:
        yield "A quick look: no pixel was decoded, and truncated files were not noticed."
    if not spec.near or spec.quick:
        return
    pairs = list(judged.alike)
    hashed = int(looks.hashed.sum())
    if not hashes:
        yield (
            "Pictures that look alike were not looked for by perceptual hash: that needs "
            "imagehash (pip install 'covtool[report]')."
        )
    elif hashed > MOST_HASHED:
        yield (
            f"Pictures that look alike were not looked for by perceptual hash: there are "
            f"{hashed:,}, more than {MOST_HASHED:,}."
        )
    else:
        for group in alike_by_hash(looks, copies, spec.near_bits):
            pairs += [(group[0], other) for other in group[1:]]
    first = copies.first
    copies.join_("near", components((int(first[i]), int(first[j])) for i, j in pairs))


def _classes(images: Images) -> tuple[ClassCount, ...]:
    return tuple(
        ClassCount(name=name, images=tuple(map(int, row)))
        for name, row in zip(images.class_names, images.counts, strict=True)
    )


def _cameras(found: Survey) -> int | None:
    cameras = {image.camera for images in found.splits.values() for image in images}
    return len(cameras - {None}) or None


def _sizes(looks: Looks) -> Sizes | None:
    at = looks.readable
    if not at.any():
        return None
    widths, heights = looks.widths[at].astype(np.int64), looks.heights[at].astype(np.int64)

    def spread(sides: np.ndarray) -> tuple[int, int, int]:
        return int(sides.min()), int(np.median(sides)), int(sides.max())

    return Sizes(
        width=spread(widths),
        height=spread(heights),
        shortest_side=int(np.minimum(widths, heights).min()),
        largest_pixels=int((widths * heights).max()),
    )


def _counts(names: Sequence[str], numbers: np.ndarray) -> dict[str, int]:
    counts = np.bincount(numbers, minlength=len(names))
    order = np.argsort(-counts[: len(names)], kind="stable")
    return {names[at]: int(counts[at]) for at in order if counts[at]}


def _unreadable(images: Images, looks: Looks) -> Iterator[Unreadable]:
    for at, reason in sorted(looks.problems.items()):
        yield Unreadable(at=at, path=images.name(at), split=images.split(at), reason=reason)
