"""A layout of another code base, and what the renamings that make one have in common."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A code base's names for an architecture.

    Attributes:
        code_base: Row of the table that must read it.
        architecture: timm's name, or ``torchvision:NAME``.
        arguments: That make it small.
        size: Height and width of the images to compare with.
        names: All names of an architecture of this layout match it, for the sweep.
        family: What the names of its architectures begin with, where several kinds share tensors.
        write: From timm's names to the others.
        beside: Names in the file that are no part of the network, with their shapes.
        without: Tensors of timm's that the code base does not have: they are zero.
        is_large: Whether computing with it takes seconds.
    """

    code_base: str
    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    size: int = 32
    names: str
    family: str = ""
    write: Callable[[State], dict[str, torch.Tensor]]
    beside: dict[str, tuple[int, ...]] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    is_large: bool = False


def sub(state: State, *rules: tuple[str, str | Callable]) -> dict[str, torch.Tensor]:
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return result


def apart(state: State, whole: str, *parts: str) -> dict[str, torch.Tensor]:
    """A joined layer in its parts."""
    result = {}
    for name, tensor in state.items():
        if f".{whole}." in name:
            for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
                result[name.replace(f".{whole}.", f".{part}.")] = piece
        else:
            result[name] = tensor
    return result


def number(step: int) -> Callable[[re.Match], str]:
    return lambda match: f"{match[1]}{int(match[2]) + step}{match[3]}"


def under(prefix: str, state: State, *heads: str) -> dict[str, torch.Tensor]:
    return {n if n.startswith(heads) else f"{prefix}{n}": t for n, t in state.items()}


def layout(code_base: str, architecture: str, names: str, write: Callable, **others: Any) -> Layout:
    return Layout(
        code_base=code_base, architecture=architecture, names=names, write=write, **others
    )
