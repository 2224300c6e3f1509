"""timm's optimizers and schedules, from a `TrainingSpec`."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer

from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs import TrainingSpec


def build_optimizer(groups: list[dict[str, Any]], training: TrainingSpec) -> Optimizer:
    """Return the optimizer over groups of parameters, by timm's name for it.

    Raises:
        UnknownVariantError: timm has no such optimizer.
        ArgumentError: It cannot be used here: a missing library, a second-order method, settings
            that it refuses.
    """
    name = training.opt.lower().rpartition("_")[2]
    if name not in list_optimizers():
        raise UnknownVariantError("optimizer", training.opt, list_optimizers())
    extra = {} if training.opt_betas is None else {"betas": training.opt_betas}
    try:
        optimizer = create_optimizer_v2(
            groups,
            opt=training.opt,
            lr=training.lr,
            weight_decay=training.weight_decay,
            momentum=training.momentum,
            **extra,
        )
    except (AssertionError, ImportError, TypeError, ValueError) as problem:
        raise ArgumentError(
            f"The optimizer {training.opt!r} cannot be used.", reason=str(problem) or None
        ) from problem
    if getattr(optimizer, "is_second_order", False):
        raise ArgumentError(
            f"The optimizer {training.opt!r} needs second derivatives.",
            reason="covtool's training computes first derivatives only.",
        )
    return optimizer


def forget_(optimizer: Optimizer, fresh: dict[str, Any]) -> None:
    """Make an optimizer what it was before its first step, but for its learning rates.

    Args:
        optimizer: Its moments, and whatever else it has gathered, are lost.
        fresh: Its state dict of that time.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    optimizer.load_state_dict(deepcopy(fresh))
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


class Schedule:
    """The learning rate as a function of the number of updates done.

    Args:
        optimizer: Whose groups' rates are set; they have an ``lr_scale`` each.
        training: The schedule.
        updates_per_epoch: Steps of the optimizer in an epoch.

    Attributes:
        lead: Updates that it is ahead of those done; not 0 where earlier epochs had another number
            of updates.
    """

    lead = 0

    def __init__(
        self, optimizer: Optimizer, training: TrainingSpec, *, updates_per_epoch: int
    ) -> None:
        warmup = round(training.warmup * updates_per_epoch) / updates_per_epoch
        choose = _CHOICES.get(training.sched, _as_asked)
        scheduler, _ = create_scheduler_v2(
            optimizer,
            num_epochs=training.epochs,
            warmup_epochs=warmup,
            warmup_lr=training.warmup_lr,
            min_lr=training.min_lr,
            decay_milestones=training.decay_milestones,
            step_on_epochs=False,
            updates_per_epoch=updates_per_epoch,
            **choose(training),
        )
        self._optimizer = optimizer
        self._scheduler = scheduler
        self.set_updates(0)

    def set_updates(self, updates: int) -> None:
        """Set the rates for the step after this many updates."""
        self._scheduler.step_update(updates + self.lead)

    def last_lr(self, updates: int) -> float:
        """Return the rate after so many updates, which are all that were done."""
        return self.lr

    @property
    def lr(self) -> float:
        """The rate of a group with ``lr_scale`` 1, now."""
        group = self._optimizer.param_groups[0]
        return group["lr"] / group["lr_scale"]


def schedule_alone(training: TrainingSpec, *, updates_per_epoch: int) -> Schedule:
    """Return a schedule over an optimizer of nothing, for its rates."""
    nothing = [{"params": [nn.Parameter(torch.empty(0))], "lr": training.lr, "lr_scale": 1.0}]
    optimizer = torch.optim.SGD(nothing, lr=training.lr)
    return Schedule(optimizer, training, updates_per_epoch=updates_per_epoch)


def _as_asked(training: TrainingSpec) -> dict[str, Any]:
    return {
        "sched": training.sched,
        "decay_epochs": training.decay_epochs,
        "decay_rate": training.decay_rate,
    }


def _constant(training: TrainingSpec) -> dict[str, Any]:
    # Steps that change nothing; older versions of timm have no schedule of that name.
    return {"sched": "step", "decay_epochs": training.epochs, "decay_rate": 1.0}


_CHOICES: dict[str, Callable[[TrainingSpec], dict[str, Any]]] = {"constant": _constant}
