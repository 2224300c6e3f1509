"""The images of a run: checked, or decoded into a cache, which checks them as well."""

from collections.abc import Sequence
from pathlib import Path

from covtool.backbones.device import resolve_device
from covtool.data.cache import (
    CacheSetting,
    CacheWish,
    estimate_caches,
    evaluation_form,
    open_caches,
    training_form,
)
from covtool.data.checking import check_images
from covtool.data.layouts import DataLayout, Sample
from covtool.specs import FinetuneRequest, InputSpec, LoadingSpec
from covtool.training.assembly import TrainingData
from covtool.training.observer import Observer

SHOWN = 5
SPLITS = ("train", "val")


def load_data(
    layout: DataLayout, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> TrainingData:
    """The readable images of a run, from the cache where one is asked for.

    Raises:
        ArgumentError: The cache does not fit, or there is no such device.
        DataError: Images cannot be read.
    """
    if request.loading.cache == "off":
        splits = [_checked(layout, split, request, observer) for split in SPLITS]
    else:
        caches = open_caches(
            _wishes(layout, input, request), _setting(layout, input, request, observer)
        )
        for split, cached in zip(SPLITS, caches, strict=True):
            _tell_of(cached.bad, split, observer)
        splits = list(caches)
    return TrainingData(root=_root(layout), training=splits[0], validation=splits[1])


def without_cache(
    layout: DataLayout, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> FinetuneRequest:
    """The request of a dry run: what its cache would take is told, but it is not filled.

    Raises:
        ArgumentError: The cache does not fit, or there is no such device.
    """
    if request.loading.cache == "off":
        return request
    estimate_caches(_wishes(layout, input, request), _setting(layout, input, request, observer))
    return request.model_copy(update={"loading": LoadingSpec()})


def _checked(
    layout: DataLayout, split: str, request: FinetuneRequest, observer: Observer
) -> Sequence[Sample]:
    checked = check_images(
        layout.samples(split), on_bad_image=request.training.on_bad_image, track=observer.track
    )
    _tell_of(checked.bad, split, observer)
    return checked.good


def _tell_of(bad: Sequence[tuple[Path, str]], split: str, observer: Observer) -> None:
    if bad:
        shown = "; ".join(f"{path}: {reason}" for path, reason in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        observer.on_note(f"Left out {len(bad)} unreadable images of {split}: {shown}{more}")


def _wishes(layout: DataLayout, input: InputSpec, request: FinetuneRequest) -> list[CacheWish]:
    side = request.loading.cache_side
    forms = (training_form(input, request.augmentation, side=side), evaluation_form(input))
    return [
        CacheWish(split=split, samples=layout.samples(split), form=form)
        for split, form in zip(SPLITS, forms, strict=True)
    ]


def _setting(
    layout: DataLayout, input: InputSpec, request: FinetuneRequest, observer: Observer
) -> CacheSetting:
    return CacheSetting(
        spec=request.loading,
        root=_root(layout),
        gray=input.channels == 1,
        device=resolve_device(request.training.device),
        on_bad_image=request.training.on_bad_image,
        note=observer.on_note,
        track=observer.track,
    )


def _root(layout: DataLayout) -> Path:
    return layout.root if layout.root.is_dir() else layout.root.parent
