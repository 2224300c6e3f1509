"""A normalization of images inside the network, as robust models have it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from covtool.checkpoints.code_bases.code_base import Tensors
from covtool.checkpoints.code_bases.renaming import without

# Leaves of a mean and of its deviation, by code base: torchattacks and AutoAttack, robustness,
# RobustBench, Detectron2 and segment-anything, TRADES.
_PAIRS = (("mean", "std"), ("new_mean", "new_std"), ("pixel_mean", "pixel_std"), ("mu", "sigma"))
_RANGE = 255.0
_OF_PIXELS = 2.0  # no mean of values in [0, 1] is above this, no mean of pixels below
_CHANNELS = (1, 3, 4)
_BLUE_FIRST = (0.406, 0.456, 0.485)  # ImageNet's mean as OpenCV orders colors
_NEAR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalized:
    """A network without the normalization in front of it.

    Attributes:
        tensors: Tensors of the network itself.
        unused: Names of what was taken off.
        mean: Mean of each channel, for values in [0, 1].
        std: Deviation of each channel, for values in [0, 1].
        note: Sentence that says what was done.
    """

    tensors: Tensors
    unused: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    note: str


def take_normalizer(tensors: Tensors) -> Normalized | None:
    """Return the network without its normalizer; None where it has none, or several that differ.

    Values for pixels in 0 to 255 are converted to those for 0 to 1.
    """
    found = list(_normalizers(tensors))
    values = {(mean, std) for _, mean, std in found}
    # Copies of one normalizer are equal; of two that differ, none is known to be the network's.
    if len(values) != 1:
        return None
    (mean, std), names = values.pop(), tuple(name for own, _, _ in found for name in own)
    names += _twins(without(tensors, names))
    kept = without(tensors, names)
    note = (
        f"The normalization inside the network ({_words(mean)}; {_words(std)}) is taken over as "
        "mean and deviation of its input."
    )
    if _is_blue_first(mean):
        turned = _red_first(kept)
        # Colors in the wrong order give worse figures and no error.
        if turned is None:
            return None
        kept, mean, std = turned, mean[::-1], std[::-1]
        note += " It takes blue before green before red: its first layer is turned to RGB."
    return Normalized(tensors=kept, unused=names, mean=mean, std=std, note=note)


def _is_blue_first(mean: tuple[float, ...]) -> bool:
    return len(mean) == len(_BLUE_FIRST) and all(
        abs(own - known) < _NEAR for own, known in zip(mean, _BLUE_FIRST, strict=True)
    )


def _red_first(tensors: Tensors) -> Tensors | None:
    """Flip the input channels of the first layer; None where it is not clear which one it is."""
    colors = len(_BLUE_FIRST)
    first = [name for name, t in tensors.items() if t.dim() == 4 and t.shape[1] == colors]
    if len(first) != 1:
        return None
    return {name: t.flip(1) if name == first[0] else t for name, t in tensors.items()}


def _normalizers(tensors: Tensors) -> Iterator[tuple[tuple[str, str], tuple, tuple]]:
    for name, mean in tensors.items():
        module, dot, leaf = name.rpartition(".")
        for own, other in _PAIRS:
            partner = f"{module}{dot}{other}"
            if leaf == own and partner in tensors and _fits(mean, tensors[partner]):
                yield (name, partner), *_unit(mean, tensors[partner])


def _fits(mean: Tensor, std: Tensor) -> bool:
    """Return whether both hold one number a channel, and can be a mean and a deviation."""
    return (
        mean.shape == std.shape
        and mean.numel() in _CHANNELS
        and mean.is_floating_point()
        and bool(mean.isfinite().all() and std.isfinite().all() and (std > 0).all())
    )


def _unit(mean: Tensor, std: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = _RANGE if float(mean.max()) > _OF_PIXELS else 1.0
    return tuple(_floats(mean / scale)), tuple(_floats(std / scale))


def _floats(values: Tensor) -> list[float]:
    # float32 has seven digits: 0.485 would become 0.48500001.
    return [round(value, 7) for value in values.double().flatten().tolist()]


def _twins(tensors: Tensors) -> tuple[str, ...]:
    """Return names of the second copy of the network that robustness keeps in its attacker."""
    pattern = re.compile(r"^(.*?)attacker\.model\.(.+)$")
    twins = []
    for name, tensor in tensors.items():
        match = pattern.match(name)
        original = tensors.get(f"{match[1]}model.{match[2]}") if match else None
        if (
            original is not None
            and original.shape == tensor.shape
            and bool((original == tensor).all())
        ):
            twins.append(name)
    return tuple(twins)


def _words(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
