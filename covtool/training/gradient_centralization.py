"""Gradient centralization on any optimizer, by hooks around its step.

The order of one update is: unscale (AMP), clip, centralize, step.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from timm.optim import MADGRAD, AdaBelief, Adopt, Lars, NAdamLegacy, RMSpropTF
from torch import Tensor, nn
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

from covtool.ops.gradient import centralize_gradient, has_rows, row_mean
from covtool.registry import Registry

Group = dict[str, Any]
Chosen = Callable[[Tensor], bool]


def _always(group: Group) -> bool:
    return True


def _unless(key: str) -> Callable[[Group], bool]:
    return lambda group: not group.get(key, False)


# Optimizers that add weight_decay * p to the gradient before anything else (coupled, L2), and the
# key of a parameter group that tells them to decouple it. torch's AdamW is an Adam with that key.
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


class Handle(Protocol):
    """What `centralize_gradients` returns."""

    def remove(self) -> None:
        """Let the optimizer be as it was."""


def centralize_gradients(
    optimizer: Optimizer,
    *,
    on: Literal["gradient", "update"] = "gradient",
    conv_only: bool = False,
    only: Iterable[Tensor] | None = None,
) -> Handle:
    """Centralize the gradient of every weight whenever the optimizer steps.

    ``gradient`` is the paper's way: the gradient is centralized after coupled weight decay has been
    added, so momentum and decay see a centralized gradient. An optimizer that divides by a second
    moment (Adam) turns it into an update that is no longer exactly centralized; ``update``
    centralizes what it does to the weight instead (the authors' "generalized gradient"), decoupled
    weight decay included, and is exact for every optimizer.

    `p.grad` is the caller's: it is replaced while the optimizer steps and is afterwards the tensor
    that it was. Unscale and clip before the step. A closure given to the step works as well.
    Biases and other vectors, weights with fan-in 1 (depthwise 1x1) and sparse gradients are left
    alone.

    Args:
        optimizer: Of torch, timm or any other library that derives from torch's.
        on: What is centralized; see `MODES`.
        conv_only: Leave matrices (linear layers) alone.
        only: The weights to centralize, see `layer_weights`; by default every parameter that has
            rows. A position embedding has rows, but is not the weight of a layer.

    Returns:
        A handle whose ``remove()`` ends it.

    Raises:
        UnknownVariantError: There is no such mode.

    Source:
        Yong, Huang, Hua, Zhang. "Gradient Centralization", ECCV 2020, algorithms 1 and 2.
    """
    mode = MODES[on]
    axes = 3 if conv_only else 2
    wanted = None if only is None else {id(tensor) for tensor in only}

    def chosen(parameter: Tensor) -> bool:
        listed = wanted is None or id(parameter) in wanted
        return listed and parameter.ndim >= axes and has_rows(parameter)

    # timm's Lookahead never fires its own hooks; the optimizer inside does.
    return mode.attach(getattr(optimizer, "_base_optimizer", optimizer), chosen)


def layer_weights(model: nn.Module, *, conv_only: bool = False) -> list[nn.Parameter]:
    """The weights of convolutions, linear layers and attention projections, output axis first."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    kinds = convolutions if conv_only else (*convolutions, nn.Linear, nn.MultiheadAttention)
    return [
        parameter
        for module in model.modules()
        if isinstance(module, kinds)
        for name, parameter in module.named_parameters(recurse=False)
        if name.endswith("weight")
    ]


class _AroundStep:
    """Hooks before and after each step of an optimizer, with a tensor kept for each parameter."""

    def __init__(self, optimizer: Optimizer, chosen: Chosen) -> None:
        self._chosen = chosen
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._handles = (
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        )

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


class _CentralizedGradient(_AroundStep):
    """Gives the optimizer centralized gradients, and the caller their own back."""

    def _before(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> tuple | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._replace(optimizer)
            return None

        def centralized_closure() -> Any:
            loss = closure()
            self._replace(optimizer)
            return loss

        return args[:1], {**kwargs, "closure": centralized_closure}

    @torch.no_grad()
    def _replace(self, optimizer: Optimizer) -> None:
        coupled = _coupling(optimizer)
        self._kept.clear()
        for group, parameter in _with_gradient(optimizer, self._chosen):
            self._kept.append((parameter, parameter.grad))
            decay = _signed_decay(group) if coupled(group) else 0.0
            parameter.grad = _centralized_with_decay(parameter, decay)

    def _after(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for parameter, gradient in self._kept:
            parameter.grad = gradient
        self._kept.clear()


class _CentralizedUpdate(_AroundStep):
    """Lets the optimizer step, then takes the row means out of what it did."""

    def _before(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        # With a closure the gradients are yet to come, so every chosen weight is kept.
        parameters = (p for g in optimizer.param_groups for p in g["params"] if self._chosen(p))
        self._kept = [(parameter, parameter.detach().clone()) for parameter in parameters]

    @torch.no_grad()
    def _after(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for parameter, old in self._kept:
            if _has_dense_gradient(parameter):
                parameter.copy_(old + centralize_gradient(parameter - old))
        self._kept.clear()


@dataclass(frozen=True, slots=True)
class CentralizationMode:
    """A row of the table of modes: what is centralized."""

    name: str
    summary: str
    source: str
    attach: Callable[[Optimizer, Chosen], Handle]


MODES = Registry(
    "gradient centralization mode",
    (
        CentralizationMode(
            "gradient",
            "The gradient, after coupled weight decay.",
            "Yong et al., ECCV 2020, algorithm 1",
            _CentralizedGradient,
        ),
        CentralizationMode(
            "update",
            "What the optimizer does to the weight, decay included; for adaptive optimizers.",
            "Yong et al., the authors' later optimizers (generalized gradient)",
            _CentralizedUpdate,
        ),
    ),
)


def _centralized_with_decay(parameter: Tensor, decay: float) -> Tensor:
    """The gradient to which the optimizer adds decay * p, so that the sum is centralized."""
    gradient = parameter.grad
    if decay == 0:
        return centralize_gradient(gradient)
    return gradient - row_mean(gradient) - decay * row_mean(parameter)


def _signed_decay(group: Group) -> float:
    """The weight decay as seen by the gradient, whose sign ``maximize`` turns round."""
    decay = group.get("weight_decay", 0.0)
    return -decay if group.get("maximize", False) else decay


def _coupling(optimizer: Optimizer) -> Callable[[Group], bool]:
    for kind in type(optimizer).__mro__:
        if kind in _COUPLED:
            return _COUPLED[kind]
    return lambda group: False


def _with_gradient(optimizer: Optimizer, chosen: Chosen) -> Iterator[tuple[Group, Tensor]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if chosen(parameter) and _has_dense_gradient(parameter):
                yield group, parameter


def _has_dense_gradient(parameter: Tensor) -> bool:
    return parameter.grad is not None and parameter.grad.layout == torch.strided
