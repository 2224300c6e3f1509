"""Names by rules, and the few changes of tensors that renaming needs."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache

import torch
from torch import Tensor

from covtool.checkpoints.code_bases.code_base import Rules, Step, Tensors


def new_name(name: str, rules: Rules) -> str:
    """Return a name after every rule, in their order."""
    for pattern, replacement in rules:
        name = _compiled(pattern).sub(replacement, name)
    return name


def renamed(tensors: Tensors, rules: Rules) -> dict[str, Tensor]:
    r"""Return the tensors under their new names, in the same order.

    Example:
        >>> import torch
        >>> list(renamed({"layer.0.w": torch.zeros(1)}, ((r"^layer\.", "blocks."),)))
        ['blocks.0.w']
    """
    return {new_name(name, rules): tensor for name, tensor in tensors.items()}


def any_matches(patterns: Iterable[str], name: str) -> bool:
    """Return whether one of the patterns is found in the name."""
    return any(_compiled(pattern).search(name) for pattern in patterns)


def shifted(pattern: str, replacement: str, step: int, *, where: str = "") -> Step:
    r"""Return a step that adds `step` to the number in a name.

    Args:
        pattern: Regular expression with the number as group ``n``.
        replacement: Text with ``{n}`` where the changed number goes; other groups as ``\g<name>``.
        step: Number that is added.
        where: Only among tensors of which one has this pattern in its name.
    """

    def changed(match: re.Match[str]) -> str:
        return match.expand(replacement.replace("{n}", str(int(match["n"]) + step)))

    def apply(tensors: Tensors) -> dict[str, Tensor]:
        # Without a condition: the empty pattern is found in every name.
        if not any(_compiled(where).search(name) for name in tensors):
            return dict(tensors)
        return {_compiled(pattern).sub(changed, name): t for name, t in tensors.items()}

    return apply


def joined(whole: str, *parts: str) -> Step:
    """Return a step that concatenates sibling tensors along their first axis.

    Weights and biases apart; where one of them is missing, all keep their names.

    Args:
        whole: Name of the module that takes their place, beside them.
        parts: Names of the modules, in the order of concatenation.
    """

    def apply(tensors: Tensors) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        taken: set[str] = set()
        for name, tensor in tensors.items():
            module, _, leaf = name.rpartition(".")
            parent, _, child = module.rpartition(".")
            names = [f"{parent}.{part}.{leaf}" for part in parts]
            # A bias may be missing in one part, as that of SwinV2's keys.
            if child in parts and all(n in tensors for n in names):
                if name not in taken:
                    result[f"{parent}.{whole}.{leaf}"] = torch.cat([tensors[n] for n in names])
                    taken.update(names)
            else:
                result[name] = tensor
        return result

    return apply


def reshaped(pattern: str, change: Callable[[Tensor], Tensor]) -> Step:
    """Return a step that changes every tensor whose name has the pattern in it."""

    def apply(tensors: Tensors) -> dict[str, Tensor]:
        found = _compiled(pattern).search
        return {name: change(t) if found(name) else t for name, t in tensors.items()}

    return apply


def without(tensors: Tensors, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors but for some names."""
    left_out = set(names)
    return {name: tensor for name, tensor in tensors.items() if name not in left_out}


def matrix_as_convolution(tensor: Tensor) -> Tensor:
    """Return a linear layer's weight as that of a 1x1 convolution; anything else as it is."""
    return tensor[:, :, None, None] if tensor.dim() == 2 else tensor


def with_bias(module: str) -> Step:
    """Return a step that gives a linear layer without a bias one of zeros, which timm's has."""

    def apply(tensors: Tensors) -> dict[str, Tensor]:
        result = {}
        for name, tensor in tensors.items():
            result[name] = tensor
            if name == f"{module}.weight" and f"{module}.bias" not in tensors:
                # Zeros leave the outputs as they are.
                result[f"{module}.bias"] = tensor.new_zeros(len(tensor))
        return result

    return apply


def flat_block_stages(outputs: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Return stage and place in it of blocks that are numbered throughout.

    A stage begins where a block changes the number of channels, as in every MobileNet and
    EfficientNet.

    Args:
        outputs: Input and output channels of each block.

    Example:
        >>> flat_block_stages({0: (32, 16), 1: (16, 24), 2: (24, 24)})
        {0: (0, 0), 1: (1, 0), 2: (1, 1)}
    """
    places: dict[int, tuple[int, int]] = {}
    stage, place = -1, 0
    for number in sorted(outputs):
        taken, given = outputs[number]
        stage, place = (stage + 1, 0) if stage < 0 or taken != given else (stage, place + 1)
        places[number] = stage, place
    return places


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
