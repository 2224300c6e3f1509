"""A comparison before anything is computed: data, networks, heads, and how much memory it takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from covtool.atomic.folders import require_folder
from covtool.backbones.device import resolve_device
from covtool.checkpoints.opening import open_model
from covtool.comparing.candidates import (
    Subject,
    asked_heads,
    prefixes,
    with_candidates,
    with_sites,
)
from covtool.comparing.pairs import can_be_paired, gram_bytes
from covtool.comparing.passes import kept_maps, maps_bytes
from covtool.comparing.request import CompareRequest
from covtool.comparing.retrieval_estimates import TrainingSearch, training_labels
from covtool.comparing.taps import unknown_taps
from covtool.data.datasets.checking import CheckedSamples, check_images
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.datasets.retrieval.reading import read_classes, read_retrieval, task_of
from covtool.data.datasets.retrieval.training import training_images
from covtool.data.datasets.samples import Sample, draw_evenly
from covtool.data.datasets.solved_classes import (
    notes_on_solved_classes,
    require_image_of_each_class,
)
from covtool.errors import ArgumentError, CheckpointError, DataError, SurgeryError
from covtool.launch_environment import place
from covtool.ops.resampling import FEWEST_UNITS
from covtool.printable import first_few
from covtool.progress import Track, silent
from covtool.specs.byte_amounts import format_bytes
from covtool.variants import HEADS

SHOWN = 6
FEWEST_IMAGES = 3
"""What a ridge regression needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a network's comparison takes.

    Attributes:
        checkpoint: Name of the model.
        img_size: Height and width of the images.
        heads: Number of heads that are compared on it.
        maps_bytes: Bytes of the feature maps of all images.
        place: ``memory``, or ``files`` where they are more than the bound or a work folder is
            given.
    """

    checkpoint: str
    img_size: tuple[int, int]
    heads: int
    maps_bytes: int
    place: Literal["memory", "files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedComparison:
    """A comparison of which nothing is computed yet.

    Attributes:
        request: The request.
        layout: Data set, with the classes in its own order.
        samples: Training images that can be read.
        unreadable: File and reason of the others.
        subjects: Networks with their heads.
        search: Search for training images, where the data are for retrieval; else None.
        device: Device to compute on.
        notes: Facts worth knowing, in sentences.
    """

    request: CompareRequest
    layout: DataLayout
    samples: Sequence[Sample]
    unreadable: tuple[tuple[Path, str], ...]
    subjects: tuple[Subject, ...]
    search: TrainingSearch | None
    device: torch.device
    notes: tuple[str, ...]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """What each network's comparison takes."""
        return tuple(map(self._estimate, self.subjects))

    def _estimate(self, subject: Subject) -> Estimate:
        pairs = self.request.spec.pairs > 0
        needed = maps_bytes(kept_maps(subject.candidates, for_pairs=pairs), len(self.samples))
        in_files = self.request.work is not None or needed > self.request.spec.memory_bytes
        return Estimate(
            checkpoint=subject.name,
            img_size=subject.img_size,
            heads=len(subject.candidates),
            maps_bytes=needed,
            place="files" if in_files else "memory",
        )


def prepare_comparison(request: CompareRequest, *, track: Track = silent) -> PreparedComparison:
    """Read the data, open the models and plan every head; nothing is written.

    Raises:
        CovtoolError: As `covtool.comparing.compare`.
    """
    _require_one_process()
    if not request.sources:
        raise ArgumentError("There is no model to compare heads on.")
    device = resolve_device(request.device)
    if request.work is not None:
        require_folder(request.work)
    heads = asked_heads(request.spec.head)
    is_retrieval = _is_retrieval(request.data)
    layout = read_classes(request.data, choice=request.layout)
    _require_classes(layout)
    require_image_of_each_class(request.spec.calibrate_images, layout.class_names)
    drawn = draw_evenly(layout.samples("train"), request.spec.calibrate_images)
    checked = check_images(drawn, on_bad_image=request.on_bad_image, track=track)
    if len(checked.good) < FEWEST_IMAGES:
        raise DataError(
            f"{request.data} has {len(checked.good)} training images that can be read, and "
            f"{FEWEST_IMAGES} are the fewest for a classifier."
        )
    opened = [with_sites(subject, heads) for subject in _opened(request, layout, track)]
    found = [(s.opened.model, s.sites) for s in opened if s.sites is not None]
    if found and (problem := next(unknown_taps(found, request.spec.tap), None)):
        raise problem
    subjects = tuple(with_candidates(subject, heads, request.spec.tap) for subject in opened)
    _require_candidates(subjects)
    _require_pairs(request, subjects, len(checked.good))
    search = _search(request, checked.good) if is_retrieval else None
    return PreparedComparison(
        request=request,
        layout=layout,
        samples=checked.good,
        unreadable=checked.bad,
        subjects=subjects,
        search=search,
        device=device,
        notes=tuple(dict.fromkeys(_notes(subjects, layout, checked, search))),
    )


def _require_one_process() -> None:
    own = place()
    if own is not None and own.world > 1:
        raise ArgumentError(
            "A comparison is made by one process.",
            hint="Give the command without torchrun. covtool convert --nproc calibrates in "
            "several.",
        )


def _is_retrieval(data: Path) -> bool:
    try:
        return task_of(data) == "retrieval"
    except DataError:  # a list with labels and identities: classes are its labels, as for `convert`
        return False


def _search(request: CompareRequest, samples: Sequence[Sample]) -> TrainingSearch:
    """Return the search for these training images among themselves."""
    layout = read_retrieval(request.data, choice=request.layout)
    chosen = {sample.path for sample in samples}
    train = tuple(sample for sample in training_images(layout) if sample.path in chosen)
    return TrainingSearch(training_labels(replace(layout, train=train)))


def _require_classes(layout: DataLayout) -> None:
    if "train" not in layout.splits:
        raise DataError(
            f"{layout.root} has no training images, only: "
            f"{', '.join(layout.split_names.values())}.",
            hint="A comparison never looks at others: put some into train/.",
        )
    if len(layout.class_names) < 2:
        raise DataError(
            f"{layout.root} has a single class, {layout.class_names[0]!r}.",
            reason="Every head is right on all images then.",
            hint="Give a data set with a folder per class.",
        )


def _opened(request: CompareRequest, layout: DataLayout, track: Track) -> list[Subject]:
    """Return the models with each image size, opened."""
    asked = [
        source if size is None else source.model_copy(update={"input": {**source.input, **size}})
        for source in request.sources
        for size in ([{"size": size} for size in request.img_sizes] or [None])
    ]
    opened = [open_model(source, track=track) for source in asked]
    for source, found in zip(asked, opened, strict=True):
        if "network" in found.recipe.provenance.untrained:
            raise CheckpointError(
                f"{source.name} has random weights: its features say nothing about a head.",
                hint="Give a checkpoint with trained weights.",
            )
    sizes = [
        (source.name, found.recipe.input.size) for source, found in zip(asked, opened, strict=True)
    ]
    subjects: dict[tuple[str, tuple[int, int]], Subject] = {}
    for source, found, key, prefix in zip(asked, opened, sizes, prefixes(sizes), strict=True):
        names = in_order_of(layout, found.recipe.class_names or ()).class_names
        # The same model, given twice, is compared once.
        subjects.setdefault(
            key,
            Subject(source=source, opened=found, sites=None, class_names=names, prefix=prefix),
        )
    return list(subjects.values())


def _require_candidates(subjects: Sequence[Subject]) -> None:
    if any(subject.candidates for subject in subjects):
        return
    first = next(row for subject in subjects for row in subject.left_out)
    raise SurgeryError(
        f"None of the heads can be built: {first.label}: {first.reason}",
        hint="covtool inspect shows the sites of a model, covtool list heads what heads take.",
    )


def _require_pairs(request: CompareRequest, subjects: Sequence[Subject], images: int) -> None:
    """Refuse to look for pairs where there are none, or in less memory than they take."""
    if not request.spec.pairs:
        return
    if not any(can_be_paired(subject.candidates) for subject in subjects):
        raise ArgumentError(
            "--pairs joins a head on one tap with the same head on another, and there are no two.",
            hint="Give another --tap, or heads without fuse.",
        )
    needed = gram_bytes(max(len(subject.candidates) for subject in subjects), images)
    if needed > request.spec.memory_bytes:
        raise ArgumentError(
            f"--pairs would take {format_bytes(needed)}: a Gram matrix of {images:,} images for "
            f"each head, and --memory is {request.spec.memory}.",
            hint=f"Add --memory {-(-needed // 10**9)}GB, or compare fewer heads and taps, or "
            "--calibrate-images 2000.",
        )


def _notes(
    subjects: Sequence[Subject],
    layout: DataLayout,
    checked: CheckedSamples,
    search: TrainingSearch | None,
) -> Iterator[str]:
    several = len({subject.name for subject in subjects}) > 1
    for subject in subjects:
        for note in subject.opened.notes:
            yield f"{subject.name}: {note}" if several else note
    yield from layout.notes
    exif = all(subject.opened.recipe.input.exif for subject in subjects)
    yield from checked.notes(exif=exif)
    yield from _on_narrow(subjects)
    # An image without another one of its identity is not searched for.
    yield from notes_on_solved_classes(checked.good, layout.class_names, judged=search is None)
    yield from _on_few(len(checked.good)) if search is None else search.notes()


def _on_few(images: int) -> Iterator[str]:
    """Yield a note on images that are too few for an interval."""
    if images < FEWEST_UNITS:
        yield (
            f"The figures are of {images:,} images, and an interval needs {FEWEST_UNITS}: too few "
            "to tell rows apart. Which row is best may be chance."
        )


def _on_narrow(subjects: Sequence[Subject]) -> Iterator[str]:
    """Yield a note on heads that reduce to fewer channels than they were asked to."""
    narrow = {
        (candidate.plan.tap.path, candidate.spec.dim)
        for subject in subjects
        for candidate in subject.candidates
        if candidate.plan.spec.reduction != "none"
        and candidate.spec.dim == candidate.plan.tap.channels
        and HEADS[candidate.spec.head].second_order
    }
    if narrow:
        listed = first_few(sorted(narrow), SHOWN, show=lambda one: f"{one[1]} at {one[0]}")
        yield f"Where a tap has no more channels than --dim, heads take all of them: {listed}."
