"""Modules whose class gains a step in place, and which copy and pickle like any other.

A class that is made on the fly has no name under which pickle would find it. So an instance is
pickled with what its class is made of, and the class is made again, once in a process.
"""

from functools import cache
from typing import Any

from torch import nn

Made = tuple[str, type, Any]
"""Name, mixin, and the class that it was put in front of: a class, or made of such a row itself."""


def mix_in(module: nn.Module, mixin: type, name: str | None = None) -> None:
    """Put `mixin` in front of the class of `module`, in place.

    Args:
        module: Keeps its attributes, parameters and their names.
        mixin: Its methods win; ``super()`` is the class as it was.
        name: Name of the new class; None for that of the old one.
    """
    kind = type(module)
    module.__class__ = _mixed(name or kind.__name__, mixin, kind)


def mix_out(module: nn.Module, mixin: type) -> None:
    """Undo `mix_in`, in place; what was mixed in since then stays."""
    module.__class__ = _without(type(module), mixin)


# Cached: two modules of one kind get the very same class, so that torch.compile and isinstance find
# it again.
@cache
def _mixed(name: str, mixin: type, kind: type) -> type:
    return type(name, (mixin, kind), {"_made": (name, mixin, kind), "__reduce_ex__": _reduce})


def _without(kind: type, mixin: type) -> type:
    name, own, inner = kind._made
    # The mixin may lie below others: those are put in front of what is left, again.
    return inner if own is mixin else _mixed(name, own, _without(inner, mixin))


def _reduce(module: nn.Module, protocol: int) -> tuple:
    return _instance, (_described(type(module)),), module.__getstate__()


def _described(kind: type) -> type | Made:
    if "_made" not in vars(kind):
        return kind
    name, mixin, inner = kind._made
    return name, mixin, _described(inner)


def _made_again(described: type | Made) -> type:
    if isinstance(described, type):
        return described
    name, mixin, inner = described
    return _mixed(name, mixin, _made_again(inner))


def _instance(described: Made) -> nn.Module:
    """Return an empty instance; pickle and deepcopy fill it with the state."""
    kind = _made_again(described)
    return kind.__new__(kind)
