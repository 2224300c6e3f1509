"""Fields of `InputSpec` in words, and whether two values of one are the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from covtool.backbones import channel_statistics
from covtool.checkpoints.metadata.values import shown


def in_words(fields: Mapping[str, Any]) -> str:
    """Return fields of `InputSpec` in the words of a note."""
    words = []
    if "size" in fields:
        words.append(pixels(fields["size"]))
    if "crop_pct" in fields:
        words.append(f"crop {fields['crop_pct']:.4g}")
    if "interpolation" in fields:
        words.append(fields["interpolation"])
    mean, std = fields.get("mean"), fields.get("std")
    if mean and std and _is_imagenet(mean, std):
        words.append("ImageNet's mean and deviation")
    else:
        words += [f"{name} {shown(v)}" for name, v in (("mean", mean), ("std", std)) if v]
    return ", ".join(words)


def _is_imagenet(mean: Sequence[float], std: Sequence[float]) -> bool:
    return all(map(same, (tuple(mean), tuple(std)), channel_statistics.IMAGENET))


def pixels(size: Sequence[int]) -> str:
    """Return a size, once where height and width are equal."""
    height, width = size
    return f"{height} px" if height == width else f"{height}x{width} px"


def same(one: Any, other: Any) -> bool:
    """Return whether two values of a field mean the same, up to how they were rounded."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-3
    if isinstance(one, tuple) and isinstance(other, tuple):
        # One number stands for all channels.
        if len(one) != len(other):
            one, other = (v * max(len(one), len(other)) if len(v) == 1 else v for v in (one, other))
        return len(one) == len(other) and all(map(same, map(float, one), map(float, other)))
    return one == other


def sentence(text: str) -> str:
    """Return a text with a capital at its beginning."""
    return f"{text[:1].upper()}{text[1:]}"
