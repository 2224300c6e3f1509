"""Entries of training scripts and model hubs, in the vocabulary of all of them."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from covtool.backbones import channel_statistics
from covtool.backbones.published_names import known_architecture
from covtool.checkpoints.metadata import values
from covtool.checkpoints.metadata.class_lists import CLASS_KEYS, NotNamesError, names_of
from covtool.checkpoints.metadata.statements import Statement
from covtool.checkpoints.metadata.wording import sentence


@dataclass(frozen=True, slots=True)
class Field:
    """A field, and the entries that hold it.

    Attributes:
        name: Field of `Statement` or of `InputSpec`.
        keys: Keys under which it is kept, in lower case, the most explicit first.
        read: Function that reads a value; its result is None where the value means nothing.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[Any], Any]


_LONGEST_WORD = 200  # characters; the longest name of a model has 80


def _word(value: Any) -> str | None:
    is_word = isinstance(value, str) and len(value) <= _LONGEST_WORD and value.strip()
    return value if is_word else None


def _statistics_chosen(value: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if not isinstance(value, bool):
        return None
    return channel_statistics.IMAGENET if value else channel_statistics.INCEPTION


ARCHITECTURE = Field("architecture", ("arch", "architecture", "model_name", "model"), _word)
CLASSES = Field(
    "num_classes",
    ("num_classes", "nb_classes", "n_classes", "num_labels", "num_class", "nclass"),
    values.as_count,
)
POOLING = Field("global_pool", ("gp", "global_pool"), _word)
_SIZES = (
    "val_crop_size",
    "img_size",
    "image_size",
    "input_size",
    "imgsz",
    "crop_size",
    "size_test",
)
IMAGES = (
    Field("size", _SIZES, values.as_size),
    Field(
        "channels", ("in_chans", "in_channels", "num_channels", "input_channels"), values.as_count
    ),
    Field("channels", ("input_size",), values.as_channels),  # timm's, of three numbers
    Field("interpolation", ("interpolation", "val_interpolation", "resample"), values.as_filter),
    Field("crop_pct", ("crop_pct", "crop_percent"), values.as_share),
    Field("crop_mode", ("crop_mode",), values.as_crop_mode),
)
_PREFIXES = ("", "image_", "img_", "pixel_", "norm_")
MEAN = Field("mean", tuple(f"{prefix}mean" for prefix in _PREFIXES), values.as_numbers)
STD = Field("std", tuple(f"{prefix}std" for prefix in _PREFIXES), values.as_numbers)
CHOSEN = Field(
    "statistics", ("imagenet_default_mean_and_std",), _statistics_chosen
)  # BEiT's, Meta's
RESIZED = Field("resized", ("val_resize_size", "resize_size", "resize"), values.as_count)

MORE_ARCHITECTURES = ("backbone", "encoder", "encoder_name", "base_model", "net", "network", "name")
"""Where an architecture's name stands as well, if it is one."""

PARTS = (
    "pretrained_cfg",
    "default_cfg",
    "preprocess_cfg",
    "args",
    "config",
    "cfg",
    "opt",
    "hyper_parameters",
    "hparams",
    "datamodule_hyper_parameters",
    "model_args",
    "model_cfg",
    "model_config",
    "model_kwargs",
    "model",
    "backbone",
    "net",
    "dataset",
    "dataset_meta",
    "datamodule",
    "data",
    "data_config",
    "data_preprocessor",
    "img_norm_cfg",
    "normalize",
    "preprocessing",
    "preprocess",
    "transform",
    "transforms",
    "input",
    "meta",
)
"""Entries that hold more entries, in lower case; the most explicit first."""

_TIMM_ARGUMENTS = ("model", "mean", "std", "crop_pct")  # None for what timm knows itself
_TORCHVISION_ARGUMENTS = ("val_resize_size", "val_crop_size")  # its mean is always ImageNet's
_DEEPEST = 4
_LONGEST_KEY = 1024  # bits


def read_entries(where: str, loaded: Any) -> Statement | None:
    """Read the statements of a mapping and of those in it; a model's tensors are none.

    An entry nearer to the top is trusted more than one below it.

    Args:
        where: The mapping, in words.
        loaded: Plain values, mappings and namespaces.
    """
    levels = list(_levels(loaded))
    if not levels:
        return None
    names = _architectures(levels)
    classes, problems = _class_names(levels)
    images, more = _images(levels)
    pooling = _first(levels, POOLING)
    statement = Statement(
        where=where,
        architecture=next(iter(names), None),
        other_names=names[1:],
        arguments={} if pooling is None else {"global_pool": pooling},
        num_classes=_first(levels, CLASSES),
        class_names=classes,
        input=images,
        problems=tuple(f"{sentence(text)} ({where})." for text in (*problems, *more)),
        rest_is_librarys=any(set(_TIMM_ARGUMENTS) <= set(entries) for entries in levels),
    )
    return statement if statement else None


def as_entries(value: Any) -> Mapping[str, Any] | None:
    """Return entries under names in lower case; None where a value has none."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if not isinstance(value, Mapping):
        return None
    named = ((key, entry) for key, entry in value.items() if not _is_long(key))
    return {str(key).lower(): entry for key, entry in named}


def _is_long(key: Any) -> bool:
    """Return whether a key is a number of more digits than Python writes out."""
    return isinstance(key, int) and key.bit_length() > _LONGEST_KEY


def _levels(
    loaded: Any, depth: int = 0, seen: set[int] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield a mapping of entries and those inside it, in the order of trust; each of them once."""
    seen = set() if seen is None else seen
    if id(loaded) in seen:
        return
    entries = as_entries(loaded)
    if entries is None or _is_state(entries):
        return
    seen.add(id(loaded))
    yield entries
    if depth < _DEEPEST:
        for part in PARTS:
            yield from _levels(entries.get(part), depth + 1, seen)


def _is_state(entries: Mapping[str, Any]) -> bool:
    # Pixel statistics may be tensors as well, and are no weights.
    tensors = sum(isinstance(value, Tensor) and value.dim() > 0 for value in entries.values())
    return tensors > len(entries) / 2 and not {"mean", "std"} >= set(entries)


def _first(levels: list[Mapping[str, Any]], field: Field) -> Any:
    """Return the first value that means something."""
    for entries in levels:
        for key in field.keys:
            if key in entries and (meant := field.read(entries[key])) is not None:
                return meant
    return None


def _architectures(levels: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the name that stands where an architecture's should, then all that are known."""
    keys = (*ARCHITECTURE.keys, *MORE_ARCHITECTURES)
    words = [entries[k] for entries in levels for k in keys if _word(entries.get(k))]
    known = filter(None, map(known_architecture, words))
    word = _first(levels, ARCHITECTURE)
    written = (known_architecture(word) or word,) if word else ()
    return tuple(dict.fromkeys((*written, *known)))


def _class_names(
    levels: list[Mapping[str, Any]],
) -> tuple[tuple[str, ...] | None, list[str]]:
    problems: list[str] = []
    for entries in levels:
        for key in CLASS_KEYS:
            try:
                names = names_of(entries.get(key))
            except NotNamesError as problem:
                problems.append(f"class names under {key!r} are not used: {problem}")
                continue
            if names:
                return names, []  # with names that fit, nothing needs to be known of the others
    return None, problems


def _images(levels: list[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    images: dict[str, Any] = {}
    for field in IMAGES:
        if field.name not in images and (meant := _first(levels, field)) is not None:
            images[field.name] = meant
    resized = _first(levels, RESIZED)
    # covtool keeps the crop as timm does: as a share of the resized shorter side.
    if resized and "size" in images and "crop_pct" not in images:
        images["crop_pct"] = min(1.0, min(images["size"]) / resized)
    statistics = values.as_unit_statistics(_first(levels, MEAN), _first(levels, STD))
    chosen = _first(levels, CHOSEN)
    if chosen is None and any(set(_TORCHVISION_ARGUMENTS) <= set(e) for e in levels):
        chosen = channel_statistics.IMAGENET
    if chosen is not None and not statistics:
        statistics = dict(zip(("mean", "std"), chosen, strict=True))
    problem = values.statistics_problem(statistics)
    if problem:
        return images, [f"mean and std are not used: {problem}"]
    return images | statistics, []
