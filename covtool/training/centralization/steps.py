"""Hooks around an optimizer's step that centralize what goes in, or what comes out."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from covtool.ops.gradient import row_mean
from covtool.training.centralization.weight_decay import Group, coupled_decay

Chosen = Callable[[Tensor], bool]


class _CentralizingSteps:
    """Hooks before and after each step of an optimizer."""

    def __init__(self, optimizer: Optimizer, chosen: Chosen) -> None:
        self._optimizer = optimizer
        self._chosen = chosen
        self._handles = (
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        )

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _parameters(self) -> Iterator[tuple[Group, Tensor]]:
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if self._chosen(parameter):
                    yield group, parameter


class CentralizedGradient(_CentralizingSteps):
    """Gives the optimizer centralized gradients, and the caller their own back.

    Args:
        optimizer: Optimizer that steps.
        chosen: Predicate of the parameters whose gradients are centralized.
        in_place: Whether to overwrite the gradients, which are not needed any more.
    """

    def __init__(self, optimizer: Optimizer, chosen: Chosen, *, in_place: bool) -> None:
        super().__init__(optimizer, chosen)
        self._in_place = in_place
        self._given: list[tuple[Tensor, Tensor, Tensor]] = []  # parameter, its gradient, ours
        self._means: list[tuple[Tensor, int]] = []
        self._buffers: dict[Tensor, Tensor] = {}

    def remove(self) -> None:
        super().remove()
        self._buffers.clear()

    def removed_norm(self) -> Tensor:
        """Return the norm of the part that the last step took out of the gradients."""
        return _norm_of_rows(self._means)

    def _before(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> tuple | None:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._replace()
            return None

        def centralized_closure() -> Any:
            self._give_back()  # it may be called several times in a step, and find gradients there
            loss = closure()
            self._replace()
            return loss

        return args[:1], {**kwargs, "closure": centralized_closure}

    @torch.no_grad()
    def _replace(self) -> None:
        if any(parameter.grad is ours for parameter, _, ours in self._given):
            return  # a step that calls its parent's step, or again after one that failed
        self._given.clear()
        self._means.clear()
        decay_of = coupled_decay(self._optimizer)
        for group, parameter in self._parameters():
            gradient = parameter.grad
            if not _is_dense(gradient):
                continue
            mean, decay = row_mean(gradient), decay_of(group)
            self._means.append((mean, gradient[0].numel()))
            # The optimizer adds decay * p, and it is the sum that has to be centralized.
            taken = mean if _is_zero(decay) else mean + decay * row_mean(parameter)
            if self._in_place:
                gradient.sub_(taken)
            else:
                parameter.grad = self._less(parameter, gradient, taken)
                self._given.append((parameter, gradient, parameter.grad))

    def _less(self, parameter: Tensor, gradient: Tensor, taken: Tensor) -> Tensor:
        """Subtract; on a CPU into memory that is kept, as fresh memory costs more than the rest.

        Optimizers keep no gradient without copying it: `zero_grad` may overwrite it as well.
        """
        if gradient.device.type != "cpu":
            return gradient - taken
        buffer = self._buffers.get(parameter)
        if buffer is None or buffer.stride() != gradient.stride():
            buffer = self._buffers[parameter] = torch.empty_like(gradient)
        return torch.sub(gradient, taken, out=buffer)

    def _after(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for parameter, gradient, _ in self._given:
            parameter.grad = gradient
        self._given.clear()


class CentralizedUpdate(_CentralizingSteps):
    """Lets the optimizer step, then gives the rows of the weights the means that they had.

    That is the centralized update: the mean of what the step did to a row is the difference of the
    row's means. Nothing of the size of the weights is kept.
    """

    def __init__(self, optimizer: Optimizer, chosen: Chosen) -> None:
        super().__init__(optimizer, chosen)
        # Of each step under way: there are two where a step calls its parent's.
        self._kept: list[list[tuple[Tensor, Tensor]]] = []

    def removed_norm(self) -> Tensor:
        """Return the norm of the part that centralization would take out of the gradients now."""
        dense = (p.grad for _, p in self._parameters() if _is_dense(p.grad))
        return _norm_of_rows([(row_mean(gradient), gradient[0].numel()) for gradient in dense])

    @torch.no_grad()
    def _before(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        # With a closure the gradients are yet to come, so every chosen weight is looked at.
        closure = bool(kwargs.get("closure", args[1] if len(args) > 1 else None))
        wanted = (p for _, p in self._parameters() if closure or _is_dense(p.grad))
        self._kept.append([(parameter, _precise_row_mean(parameter)) for parameter in wanted])

    @torch.no_grad()
    def _after(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for parameter, mean in self._kept.pop():
            if _is_dense(parameter.grad):  # one that is sparse, or None, is left as it was stepped
                parameter.sub_(_precise_row_mean(parameter) - mean)


def _is_dense(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.layout == torch.strided


def _is_zero(decay: float | Tensor) -> bool:
    return not isinstance(decay, Tensor) and decay == 0


def _precise_row_mean(parameter: Tensor) -> Tensor:
    """Average in float32 at least: half precision would round away what a step does to a mean."""
    half = parameter.dtype in (torch.bfloat16, torch.float16)
    return row_mean(parameter, dtype=torch.float32 if half else None)


def _norm_of_rows(means: list[tuple[Tensor, int]]) -> Tensor:
    """Return the norm of tensors whose rows have one value each, given as (values, length)."""
    if not means:
        return torch.zeros(())
    norms = torch._foreach_norm([mean for mean, _ in means])
    device = norms[0].device  # a network may be spread over several
    rows = zip(norms, means, strict=True)
    return torch.stack([norm.to(device) * size**0.5 for norm, (_, size) in rows]).norm()
