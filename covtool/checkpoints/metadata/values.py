"""Values of configurations, in the many ways in which programs write them down."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from covtool.specs.base_arguments import LARGEST_SIDE, MOST_CHANNELS

PIXEL_LEVELS = 255.0
PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
FILTERS = tuple(PIL_FILTERS.values())
CROP_MODES = ("center", "squash", "border")

_LARGEST = 2**53  # beyond it, a float64 has no whole numbers
_SMALLEST_DEVIATION = 0.5 / PIXEL_LEVELS  # half of the step between two levels
_CUBIC = "cubic"  # OpenCV's word


def as_number(value: Any) -> float | None:
    """Return a finite number, or None; booleans are none."""
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 and not value.is_complex() else None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # In this order: `isfinite` raises OverflowError for a whole number that no float64 can hold.
    return value if abs(value) < _LARGEST and math.isfinite(value) else None


def as_count(value: Any) -> int | None:
    """Return a positive whole number, or None."""
    number = as_number(value)
    return int(number) if number is not None and number > 0 and number == int(number) else None


def as_numbers(value: Any) -> tuple[float, ...] | None:
    """Return one number a channel: of a list, a tensor, ``0.5,0.5,0.5``, or a single number."""
    # Counted before it becomes a list, since it may be an image or a weight.
    if isinstance(value, Tensor):
        value = value.flatten().tolist() if value.numel() <= MOST_CHANNELS else None
    if isinstance(value, str):
        value = value.strip("()[] ").replace(",", " ").split()
    if isinstance(value, int | float):
        value = [value]
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_CHANNELS:
        return None
    numbers = tuple(as_number(number) for number in value)
    return None if None in numbers else numbers


def as_size(value: Any) -> tuple[int, int] | None:
    """Return (height, width) of a number, two, three with the channels first, or a mapping."""
    if isinstance(value, Mapping):
        value = [value.get("height"), value.get("width")]
    numbers = as_numbers(value)
    if numbers is None or len(numbers) > 3:
        return None
    sides = numbers[-2:] if len(numbers) > 1 else numbers * 2
    counts = tuple(as_count(side) for side in sides)
    if None in counts or max(counts) > LARGEST_SIDE:
        return None
    return counts


def as_channels(value: Any) -> int | None:
    """Return the first of three numbers of an input's size."""
    numbers = as_numbers(value)
    return as_count(numbers[0]) if numbers is not None and len(numbers) == 3 else None


def as_filter(value: Any) -> str | None:
    """Return PIL's word for a resampling filter, from its number or from torchvision's spelling."""
    if isinstance(value, int) and not isinstance(value, bool):
        return PIL_FILTERS.get(value)
    if not isinstance(value, str):
        return None
    word = value.lower().rpartition(".")[2]
    if word == _CUBIC:
        return "bicubic"
    return word if word in FILTERS else None


def as_crop_mode(value: Any) -> str | None:
    """Return a crop mode in timm's word, or None."""
    return value if value in CROP_MODES else None


def as_share(value: Any) -> float | None:
    """Return a share of the resized side that the crop keeps, at most 2, or None."""
    number = as_number(value)
    return float(number) if number is not None and 0 < number <= 2 else None


def as_unit_statistics(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> dict[str, tuple[float, ...]]:
    """Return mean and deviation for values in [0, 1], of those for values up to 255 as well.

    A mean above 1, or without it a deviation above 2, can only be meant for values up to 255. A
    mean of 0 with a deviation of 255 is.
    """
    means, deviations = mean or (), std or ()
    if any(abs(value) > 1 for value in means) or any(value > 2 for value in deviations):
        means = tuple(value / PIXEL_LEVELS for value in means)
        deviations = tuple(value / PIXEL_LEVELS for value in deviations)
    named = {"mean": means, "std": deviations}
    return {name: values for name, values in named.items() if values}


def statistics_problem(statistics: Mapping[str, tuple[float, ...]]) -> str | None:
    """Return what is wrong with a mean and a deviation for values in [0, 1]; None for nothing."""
    mean, std = statistics.get("mean", ()), statistics.get("std", ())
    if any(value <= 0 for value in std):
        return f"a deviation of {shown(std)} cannot be divided by"
    if any(not -1 <= value <= 2 for value in mean):
        return f"a mean of {shown(mean)} is not possible for images"
    if any(not _SMALLEST_DEVIATION < value <= 2 for value in std):
        return f"a deviation of {shown(std)} is not possible for images"
    return None


def bgr_problem(where: str) -> str:
    """Return the sentence on a network that takes its channels in the order of OpenCV."""
    return f"The network takes BGR images, covtool gives RGB: figures will be wrong ({where})."


def shown(values: Sequence[float]) -> str:
    """Return numbers as short as they can be; equal ones once."""
    once = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{value:.4g}" for value in once)
