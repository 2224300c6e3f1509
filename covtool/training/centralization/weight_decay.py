"""Coupled weight decay (L2): the optimizers that add it to the gradient, and how much."""

from collections.abc import Callable
from typing import Any

from timm.optim import MADGRAD, AdaBelief, Adopt, Lars, NAdamLegacy, RMSpropTF
from torch import Tensor
from torch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

Group = dict[str, Any]


def _always(group: Group) -> bool:
    return True


def _unless(key: str) -> Callable[[Group], bool]:
    return lambda group: not group.get(key, False)


# Optimizers that add weight_decay * p to the gradient before anything else, and the key of a
# parameter group that tells them to decouple it. torch's AdamW is an Adam with that key.
_COUPLED: dict[type[Optimizer], Callable[[Group], bool]] = {
    SGD: _always,
    ASGD: _always,
    Adadelta: _always,
    Adagrad: _always,
    Adamax: _always,
    RMSprop: _always,
    Adam: _unless("decoupled_weight_decay"),
    NAdam: _unless("decoupled_weight_decay"),
    RAdam: _unless("decoupled_weight_decay"),
    NAdamLegacy: _always,
    Lars: _always,
    AdaBelief: _unless("decoupled_decay"),
    MADGRAD: _unless("decoupled_decay"),
    RMSpropTF: _unless("decoupled_decay"),
    Adopt: _unless("decoupled"),
}


def coupled_decay(optimizer: Optimizer) -> Callable[[Group], float | Tensor]:
    """Return a function of a group: how much of p the optimizer adds to ``p.grad`` as it is now.

    Negative where ``maximize`` turns the gradient round; 0 for decoupled decay. A fused optimizer
    to which a `GradScaler` leaves the unscaling divides ``p.grad`` by its ``grad_scale`` first, so
    to the gradient as it is now it adds that many times more.
    """
    coupled = _rule(optimizer)
    scale = getattr(optimizer, "grad_scale", None)

    def decay(group: Group) -> float | Tensor:
        amount = group.get("weight_decay", 0.0) if coupled(group) else 0.0
        if amount == 0:
            return 0.0
        signed = -amount if group.get("maximize", False) else amount
        return signed if scale is None else signed * scale

    return decay


def _rule(optimizer: Optimizer) -> Callable[[Group], bool]:
    for kind in type(optimizer).__mro__:  # the nearest first: AdamW, say, is an Adam
        if kind in _COUPLED:
            return _COUPLED[kind]
    return lambda group: False
