"""The check that a file's tensors are such as the weights of a network are.

Names and numbers are bounded, so that all that looks at them later is quick; kinds of numbers that
stand for others are refused by name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from covtool.checkpoints.container_entries import DEPTH
from covtool.checkpoints.pickles import UnusableTensor
from covtool.checkpoints.unreadable import damaged, not_of_a_network, unusable
from covtool.safetensors_header import (
    MOST_DIMENSIONS,
    ExcessError,
    require_usual_name,
    require_usual_number,
)

MOST_REPEATED = 4 << 30
"""Bytes of the tensors of a file that is smaller: views can repeat what is stored once."""

LARGEST_EMPTY = 1 << 16
"""Length of a side of a tensor that has no numbers."""


def require_usual(path: Path, loaded: Any) -> None:
    """Refuse more or longer names than any network's tensors have, before they are looked at.

    Args:
        path: Path of the file, for the error.
        loaded: Content of the file: entries, and entries in them.

    Raises:
        CheckpointError: It has.
    """
    try:
        for entries in _levels(loaded, DEPTH + 1, set()):
            # Other entries, a vocabulary say, may have names of any length.
            has_tensors = any(isinstance(value, Tensor) for value in entries.values())
            if entries is loaded or has_tensors:
                require_usual_number(len(entries))
            if has_tensors:
                for name in entries:
                    require_usual_name(str(name))
    except ExcessError as problem:
        raise not_of_a_network(path, problem) from problem
    except ValueError as problem:  # a whole number of thousands of digits, as a name
        raise damaged(path, "One of its names is a number of thousands of digits.") from problem


def _levels(value: Any, depth: int, seen: set[int]) -> Iterator[Mapping]:
    if not isinstance(value, Mapping) or not depth or id(value) in seen:
        return
    seen.add(id(value))
    yield value
    for inside in value.values():
        yield from _levels(inside, depth - 1, seen)


def require_plain(path: Path, entries: Mapping[str, Any], *, stored: int) -> None:
    """Refuse tensors of which weights cannot be made.

    Args:
        path: Path of the file, for the error.
        entries: Names to tensors, and to whatever else is among them.
        stored: Bytes of the file, or of all that belong together.

    Raises:
        CheckpointError: There is one.
    """
    total = 0
    try:
        require_usual_number(len(entries))
    except ExcessError as problem:
        raise not_of_a_network(path, problem) from problem
    for name, tensor in entries.items():
        kind = _strange_kind(str(name), tensor)
        if kind is not None:
            raise unusable(path, str(name), kind)
        total += tensor.numel() * tensor.itemsize if isinstance(tensor, Tensor) else 0
    if total > max(2 * stored, MOST_REPEATED):  # some are stored once under two names
        raise damaged(path, f"Its tensors have {total:,} bytes, the file {stored:,}.")


def _strange_kind(name: str, tensor: Any) -> str | None:
    """Return what speaks against a tensor, in words; None for what is plain, or no tensor."""
    if isinstance(tensor, UnusableTensor):
        return tensor.kind
    if not isinstance(tensor, Tensor):
        return None
    if tensor.layout != torch.strided or tensor.is_meta:
        return f"{_word(tensor.layout)}, on {tensor.device.type}"
    if tensor.dim() > MOST_DIMENSIONS:
        return f"of {tensor.dim()} dimensions"
    if not tensor.numel() and max(tensor.shape) > LARGEST_EMPTY:
        return f"empty, of shape {tuple(tensor.shape)}"
    if tensor.is_complex():
        return f"complex ({_word(tensor.dtype)})"
    if tensor.is_floating_point() and tensor.itemsize == 1:
        return f"8-bit floating point ({_word(tensor.dtype)})"
    if tensor.is_quantized or _looks_quantized(name, tensor):
        return f"quantized ({_word(tensor.dtype)})"
    return None


def _looks_quantized(name: str, tensor: Tensor) -> bool:
    """Return whether there are whole numbers where a layer has its weights."""
    # A vector of whole numbers may be a counter or a permutation; a matrix of them is packed.
    is_weight = name.rpartition(".")[2] in ("weight", "qweight")
    return is_weight and tensor.dim() > 1 and not tensor.is_floating_point()


def _word(value: Any) -> str:
    return str(value).removeprefix("torch.")
