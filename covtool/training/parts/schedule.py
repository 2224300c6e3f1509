"""The learning rate of a run, a function of the updates done: each phase has timm's schedule."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.scheduler import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer

from covtool.specs import TrainingSpec
from covtool.training.parts.phases import Phase


class Schedule:
    """The learning rates of an optimizer's groups.

    Args:
        optimizer: Optimizer whose groups have an ``lr_scale`` each.
        training: Shape of the schedule within a phase; its warm-up is that of the first phase.
        phases: Phases of the run, in order.
        updates_per_epoch: Steps of the optimizer in an epoch.

    Attributes:
        offset: Updates that the schedule is ahead of those done; not 0 where earlier epochs had
            another number of updates.
    """

    offset = 0

    def __init__(
        self,
        optimizer: Optimizer,
        training: TrainingSpec,
        phases: Sequence[Phase],
        *,
        updates_per_epoch: int,
    ) -> None:
        self._optimizer = optimizer
        self._phases = [
            (phase.start * updates_per_epoch, _rates_of(phase, training, updates_per_epoch))
            for phase in phases
        ]
        self.set_updates(0)

    def set_updates(self, updates: int) -> None:
        """Set the rates for the step after this many updates."""
        position = updates + self.offset
        # After its last epoch, too, a run is in its last phase.
        start, rates = next(row for row in reversed(self._phases) if row[0] <= position)
        lr = rates.at(position - start)
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["lr_scale"]

    def last_lr(self, updates: int) -> float:
        """Return the rate that the phase of the last of so many updates ends this update with.

        Where a phase ends with that update, `lr` is the rate of the next one already.
        """
        position = updates + self.offset
        begun = (row for row in reversed(self._phases) if row[0] < position)
        start, rates = next(begun, self._phases[0])
        # By way of the first group, as in `lr`: else they could differ in the last bit.
        scale = self._optimizer.param_groups[0]["lr_scale"]
        return rates.at(position - start) * scale / scale

    @property
    def lr(self) -> float:
        """The rate of a group with ``lr_scale`` 1, now."""
        group = self._optimizer.param_groups[0]
        return group["lr"] / group["lr_scale"]


class PhaseRates:
    """The learning rate of one phase, as a function of the updates done in it.

    Args:
        training: Settings of the schedule, with the phase's own learning rate and epochs.
        updates_per_epoch: Steps of the optimizer in an epoch.
    """

    def __init__(self, training: TrainingSpec, *, updates_per_epoch: int) -> None:
        # timm's schedulers write the rate into an optimizer: this one has nothing to train.
        nothing = [
            {"params": [nn.Parameter(torch.empty(0))], "lr": training.peak_lr, "lr_scale": 1.0}
        ]
        self._optimizer = torch.optim.SGD(nothing, lr=training.peak_lr)
        choose = _CHOICES.get(training.sched, _as_asked)
        self._scheduler, _ = create_scheduler_v2(
            self._optimizer,
            num_epochs=training.epochs,
            # A whole number of updates, in epochs as timm takes it.
            warmup_epochs=round(training.warmup * updates_per_epoch) / updates_per_epoch,
            warmup_lr=training.warmup_lr,
            min_lr=training.min_lr,
            decay_milestones=training.decay_milestones,
            step_on_epochs=False,
            updates_per_epoch=updates_per_epoch,
            **choose(training),
        )

    def at(self, updates: int) -> float:
        """Return the rate for the step after this many updates of the phase."""
        self._scheduler.step_update(updates)
        return self._optimizer.param_groups[0]["lr"]


def _rates_of(phase: Phase, training: TrainingSpec, updates_per_epoch: int) -> PhaseRates:
    warmup = training.warmup if phase.start == 0 else 0.0
    changed: dict[str, Any] = {"lr": phase.lr, "epochs": phase.epochs, "warmup_epochs": warmup}
    return PhaseRates(training.model_copy(update=changed), updates_per_epoch=updates_per_epoch)


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
