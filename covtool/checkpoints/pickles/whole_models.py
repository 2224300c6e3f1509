"""Pickled modules: where they are the model of a file, not something beside its tensors."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from covtool.checkpoints.pickles.records import Placeholder, UnusableTensor

_MOST_LEVELS = 16
_OPTIMIZER = "optim"  # in the name of an entry whose tensors are no weights


def is_whole_model(content: Any) -> bool:
    """Return whether most of a file's tensors are in pickled modules, not under own names.

    A pickled loss beside a state dict is none.
    """
    inside = sum(1 for _ in _tensors(content, inside=True))
    return inside > sum(1 for _ in _tensors(content, inside=False))


def is_module(value: Any) -> bool:
    """Return whether an object is a `torch.nn.Module`, by the attributes that all of them have."""
    return isinstance(value, Placeholder) and {"_parameters", "_modules"} <= set(value.attributes)


def _tensors(content: Any, *, inside: bool) -> Iterator[Tensor | UnusableTensor]:
    """Yield the tensors of a file, each one once: in modules, or in plain containers alone."""
    # Without recursion: modules are nested as deeply as their authors like.
    pending, seen = [(content, 0, False)], set()
    while pending:
        value, level, in_module = pending.pop()
        if isinstance(value, Tensor | UnusableTensor):
            if in_module == inside:
                yield value
            continue
        if id(value) in seen or level > _MOST_LEVELS:
            continue
        seen.add(id(value))
        if is_module(value):
            in_module, value = True, value.attributes
        # Levels limit the search in plain containers; a module is looked through to its end.
        level += not in_module
        if isinstance(value, Mapping):
            pending += [(v, level, in_module) for k, v in value.items() if _OPTIMIZER not in str(k)]
        elif isinstance(value, list | tuple):
            pending += [(v, level, in_module) for v in value]
