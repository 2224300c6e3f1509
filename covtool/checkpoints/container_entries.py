"""Entries of a file that hold tensors, and the way to them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from covtool.checkpoints.pickles import UnusableTensor
from covtool.checkpoints.weight_sets import is_averaged, is_of_training

RAW = (
    "state_dict",
    "model",
    "model_state_dict",
    "network",
    "net",
    "module",
    "model_state",
    "weights",
    "params",
)
"""What programs call the entry with a network's tensors, the usual names first."""

SEPARATOR = " > "
"""Between the names of entries inside one another."""

DEPTH = 4
"""Entries inside one another among which a network's tensors are looked for."""

_Inside = tuple[tuple[str, ...], Mapping] | None  # the way to tensors, and these
_Seen = dict[tuple[int, int], _Inside]


@dataclass(frozen=True, slots=True)
class Found:
    """Entries with tensors in them, the way to them, and what was chosen on it."""

    name: str
    entries: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def entries_of(loaded: Mapping, names: Iterable) -> Iterator[Found]:
    """Yield the tensors below each of some entries that is a state dict, or has one in it."""
    seen: _Seen = {}
    for name in names:
        value = loaded.get(name)
        if isinstance(value, Mapping) and not is_of_training(str(name)):
            found = _inside(value, DEPTH, seen)
            if found is not None:
                yield Found(SEPARATOR.join((str(name), *found[0])), found[1])


def entry_of(loaded: Mapping, name: Any) -> Found | None:
    """Return the tensors below one entry; None where there are none."""
    return next(entries_of(loaded, (name,)), None)


def _inside(value: Mapping, depth: int, seen: _Seen) -> _Inside:
    """Return tensors in a mapping or below one of its entries; a mapping of many names once."""
    # At another depth other entries are in reach.
    place = id(value), depth
    if place not in seen:
        seen[place] = None  # of what holds itself
        seen[place] = _first_inside(value, depth, seen)
    return seen[place]


def _first_inside(value: Mapping, depth: int, seen: _Seen) -> _Inside:
    averaged = [inner for inner in value if is_averaged(str(inner))] if depth > 1 else []
    for inner in (*RAW, *averaged) if depth > 1 else ():
        below = value.get(inner)
        if isinstance(below, Mapping) and not is_of_training(str(inner)):
            inside = _inside(below, depth - 1, seen)
            if inside is not None:
                return (str(inner), *inside[0]), inside[1]
    return ((), value) if has_tensors(value) else None


def itself(loaded: Mapping) -> Found | None:
    """Return a mapping itself where it is a state dict; None where it is none."""
    return Found("", loaded) if has_tensors(loaded) else None


def has_tensors(entries: Mapping) -> bool:
    """Return whether there are tensors right in a mapping."""
    return any(isinstance(value, Tensor | UnusableTensor) for value in entries.values())
