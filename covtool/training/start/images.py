"""Images of a run: checked, or decoded into a cache, which checks them as well."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from covtool.backbones.device import resolve_device
from covtool.data.cache import (
    CacheRequest,
    CacheSetting,
    estimate_caches,
    evaluation_form,
    open_caches,
    training_form,
)
from covtool.data.datasets.checking import (
    DECODED_AT_MOST,
    CheckedSamples,
    check_splits,
    list_unreadable,
    notes_on_formats,
    notes_on_images,
)
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.data.datasets.samples import Sample, chosen_samples
from covtool.data.rendering.choice import require_tensors
from covtool.errors import DataError
from covtool.processes import Processes
from covtool.specs import FinetuneRequest, InputSpec, LoadingSpec
from covtool.training.loop.bad_images import BRING_BACK
from covtool.training.parts.assembly import TrainingData
from covtool.training.run.observer import Observer

SPLITS = ("train", "val")


def load_data(
    layout: DataLayout,
    input: InputSpec,
    request: FinetuneRequest,
    observer: Observer,
    processes: Processes,
    *,
    left_out: frozenset[Path] | None = None,
) -> TrainingData:
    """Return the images of a run, from the cache where one is asked for.

    A new run uses those that can be read. A resumed one keeps to those that it has always used:
    only so is it the run that was interrupted. What cannot be read any more is replaced in its
    turn.

    Args:
        layout: Data set of the run.
        input: Images that the model expects.
        request: Settings of the run.
        observer: Observer that gets notes on images that cannot be read.
        processes: Processes that train together.
        left_out: Images that a resumed run has never used; None for a new run.

    Raises:
        ArgumentError: The cache does not fit, or there is no such device.
        DataError: Images cannot be read, or none that is left can be searched for.
    """
    used = [_without(layout.samples(split), left_out or frozenset()) for split in SPLITS]
    if request.loading.cache == "off":
        look = _checked if left_out is None else _kept
        found = look(dict(zip(SPLITS, used, strict=True)), input, request, observer)
    else:
        device = resolve_device(request.training.device, processes)
        caches = _cache_requests(used, input, request, device)
        found = list(open_caches(caches, _setting(layout, input, request, observer, device)))
        if left_out is None:
            _tell_of_decoded([cached.seen for cached in found], observer)
        for split, cached in zip(SPLITS, found, strict=True):
            # A cache holds the images of a run in their places: a gap would move all that follow.
            if cached.bad and left_out is not None:
                raise DataError(
                    f"{len(cached.bad)} images of {split} cannot be read any more.",
                    reason=list_unreadable(cached.bad),
                    hint="Restore the images: with --cache no others take their place.",
                )
            _tell_of(cached.bad, split, observer)
    if left_out is None:
        left_out = frozenset().union(*map(_difference, used, found))
        if layout.searched is not None and left_out:
            searched = layout.searched.without(left_out)
            require_searchable(searched, report_on(searched, cameras=request.search.cameras))
    return TrainingData(
        root=layout.folder,
        training=found[0],
        validation=found[1],
        left_out=left_out,
        searched=None if layout.searched is None else layout.searched.without(left_out),
    )


def without_cache(
    layout: DataLayout,
    input: InputSpec,
    request: FinetuneRequest,
    observer: Observer,
    processes: Processes,
) -> FinetuneRequest:
    """Return the request of a dry run, whose cache is estimated and reported, but not filled.

    Raises:
        ArgumentError: The cache does not fit, or there is no such device.
    """
    if request.loading.cache == "off":
        return request
    samples = [layout.samples(split) for split in SPLITS]
    device = resolve_device(request.training.device, processes)
    caches = _cache_requests(samples, input, request, device)
    estimate_caches(caches, _setting(layout, input, request, observer, device))
    return request.model_copy(update={"loading": LoadingSpec()})


def _difference(samples: Sequence[Sample], readable: Sequence[Sample]) -> set[Path]:
    if len(readable) == len(samples):  # none was left out: no need to compare a million paths
        return set()
    return {sample.path for sample in samples} - {sample.path for sample in readable}


def _without(samples: Sequence[Sample], left_out: frozenset[Path]) -> Sequence[Sample]:
    if not left_out:
        return samples
    rows = [row for row, sample in enumerate(samples) if sample.path not in left_out]
    return chosen_samples(samples, rows)


Splits = Mapping[str, Sequence[Sample]]


def _checked(
    splits: Splits, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> list[Sequence[Sample]]:
    checked = _looked_at(splits, input, request, observer)
    for note in notes_on_formats(checked.values()):
        observer.on_note(note)
    for split, found in checked.items():
        _tell_of(found.bad, split, observer)
    return [found.good for found in checked.values()]


def _tell_of_decoded(parts: Sequence[CheckedSamples | None], observer: Observer) -> None:
    """Say what was seen while caches were filled; of a mapped one, the run that filled it did."""
    # Images that are turned are noted by the cache itself, with its split.
    seen = [replace(part, turned=0) for part in parts if part is not None]
    for note in (*notes_on_images(seen, exif=True), *notes_on_formats(seen)):
        observer.on_note(note)


def _kept(
    splits: Splits, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> list[Sequence[Sample]]:
    try:
        checked = _looked_at(splits, input, request, observer)
    except DataError as problem:
        raise DataError(problem.message, reason=problem.reason, hint=BRING_BACK) from problem
    # None is left out: the order of the images, and so the run, would be another one.
    for split, found in checked.items():
        if found.bad:
            count = f"{len(found.bad)} images of {split}"
            observer.on_note(f"{count} cannot be read any more: {list_unreadable(found.bad)}")
    return list(splits.values())


def _looked_at(
    splits: Splits, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> dict[str, CheckedSamples]:
    checked = check_splits(
        splits,
        on_bad_image=request.training.on_bad_image,
        track=observer.track,
        at_most=DECODED_AT_MOST,  # another one that cannot be read comes up in its turn
    )
    for note in notes_on_images(checked.values(), exif=input.exif):
        observer.on_note(note)
    return checked


def _tell_of(bad: Sequence[tuple[Path, str]], split: str, observer: Observer) -> None:
    if bad:
        observer.on_note(
            f"Left out {len(bad)} unreadable images of {split}: {list_unreadable(bad)}"
        )


def _cache_requests(
    used: Sequence[Sequence[Sample]],
    input: InputSpec,
    request: FinetuneRequest,
    device: torch.device,
) -> list[CacheRequest]:
    side = request.loading.cache_side
    # A cache on a GPU is rendered there, by tensor operations alone.
    if request.loading.cache == "device" and device.type != "cpu":
        require_tensors(input, request.augmentation)
    forms = (training_form(input, request.augmentation, side=side), evaluation_form(input))
    return [
        CacheRequest(split=split, samples=samples, form=form)
        for split, samples, form in zip(SPLITS, used, forms, strict=True)
    ]


def _setting(
    layout: DataLayout,
    input: InputSpec,
    request: FinetuneRequest,
    observer: Observer,
    device: torch.device,
) -> CacheSetting:
    return CacheSetting(
        spec=request.loading,
        root=layout.folder,
        gray=input.channels == 1,
        exif=input.exif,
        device=device,
        on_bad_image=request.training.on_bad_image,
        note=observer.on_note,
        track=observer.track,
    )
