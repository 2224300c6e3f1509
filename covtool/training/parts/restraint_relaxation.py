"""SVDNet's training as a plan of phases, a function of the epoch: a resumed run has the same.

Step 0 trains everything. Then, in turns: the weight vectors of the Eigenlayer are made orthogonal
and held (restraint), and everything is trained again (relaxation).

Source:
    Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from covtool.errors import ArgumentError
from covtool.layers import EigenClassifier
from covtool.processes import ALONE, Processes
from covtool.specs import SvdnetSpec, TrainingSpec
from covtool.surgery.eigenlayer import eigen_classifier, eigenlayer_path
from covtool.training.parts.freezing import FreezeSchedule
from covtool.training.parts.optimizer import Schedule, schedule_alone

BASE, RESTRAINT, RELAXATION = "base", "restraint", "relaxation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs that are trained alike.

    Attributes:
        name: Step 0, restraint or relaxation.
        iteration: Of restraint and relaxation, from 1; 0 for step 0.
        start: The first epoch, counted from 0.
        epochs: How many.
        lr: Learning rate of a group with lr_scale 1, at the top of the phase's schedule.
    """

    name: Literal["base", "restraint", "relaxation"]
    iteration: int
    start: int
    epochs: int
    lr: float

    @property
    def label(self) -> str:
        """As ``restraint 2``."""
        return f"{self.name} {self.iteration}" if self.iteration else self.name

    @property
    def end(self) -> int:
        """The first epoch that is not in it any more."""
        return self.start + self.epochs


def plan_phases(spec: SvdnetSpec, *, base_epochs: int, base_lr: float) -> tuple[Phase, ...]:
    """Return the phases of a run in order, if it is not stopped before.

    Args:
        spec: How many, how long, how fast.
        base_epochs: Of step 0, the default worked out; 0 leaves it out.
        base_lr: Learning rate of step 0.
    """
    lengths = ((RESTRAINT, spec.restraint_epochs), (RELAXATION, spec.relaxation_epochs))
    rows = [(BASE, 0, base_epochs, base_lr)] if base_epochs else []
    for iteration in range(1, spec.rri + 1):
        rows += [(name, iteration, epochs, spec.lr_of(iteration)) for name, epochs in lengths]
    phases, start = [], 0
    for name, iteration, epochs, lr in rows:
        phases.append(Phase(name=name, iteration=iteration, start=start, epochs=epochs, lr=lr))
        start += epochs
    return tuple(phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestraintRelaxation:
    """Phases, and what happens between them.

    Attributes:
        spec: What was asked for.
        phases: In order.
        eigenlayer: Path of the Eigenlayer.
    """

    spec: SvdnetSpec
    phases: tuple[Phase, ...]
    eigenlayer: str

    @property
    def epochs(self) -> int:
        """Of all phases."""
        return self.phases[-1].end

    def at(self, epoch: int) -> Phase:
        """Return the phase that an epoch, counted from 0, is in."""
        return next(p for p in self.phases if p.start <= epoch < p.end)

    def begins(self, epoch: int) -> Phase | None:
        """Return the phase that an epoch is the first of, or None."""
        return next((p for p in self.phases if p.start == epoch), None)

    def ended(self, epochs: int) -> Phase | None:
        """Return the phase that is over when so many epochs are done, and not before; or None."""
        return next((p for p in self.phases if p.end == epochs), None)

    def note(self, epoch: int) -> str | None:
        """Return what begins with an epoch, in a sentence."""
        phase = self.begins(epoch)
        if phase is None:
            return None
        does = {
            BASE: "everything is trained",
            RESTRAINT: f"W <- {self.spec.decomposition.upper()}, the Eigenlayer is frozen",
            RELAXATION: "everything is trained",
        }
        return f"Epoch {epoch + 1}: {phase.label} ({does[phase.name]}), lr {phase.lr:g}."

    def enter_(
        self,
        models: Sequence[nn.Module],
        epoch: int,
        *,
        forget: Callable[[], None],
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        """Do what comes before the first update of an epoch: nothing, unless a phase begins.

        The optimizer forgets its momentum, as a training that is started anew does. At a restraint
        the Eigenlayer is decorrelated; further models (a moving average) become copies of the
        first, for their average would be one of different axes.

        Args:
            models: What is trained, and its moving average where there is one.
            epoch: Counted from 0.
            forget: Makes the optimizer of the first what it was before its first step.
            seed: Of a classifier that is reset.
            processes: That train together. All have the first one's vectors afterwards: devices
                that are not alike need not agree on a decomposition to the last bit.
        """
        phase = self.begins(epoch)
        if phase is None or (epoch == 0 and phase.name == BASE):
            return
        forget()
        if phase.name != RESTRAINT:
            return
        trained, *averages = models
        layers = eigen_classifier(trained)
        self._decorrelate_(layers, seed + epoch)
        layers.load_state_dict(processes.main(lambda: _on_cpu(layers)))
        for model in averages:
            model.load_state_dict(trained.state_dict())

    def _decorrelate_(self, layers: EigenClassifier, seed: int) -> None:
        spec = self.spec
        layers.decorrelate_(
            decomposition=spec.decomposition,
            reorder=spec.reorder,
            optimal=spec.assignment == "optimal",
            fold=spec.classifier == "fold",
        )
        if spec.classifier == "reset":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                fresh = nn.Linear(layers.classifier.in_features, layers.classifier.out_features)
            layers.classifier.weight.data.copy_(fresh.weight)
            if layers.classifier.bias is not None:
                layers.classifier.bias.data.zero_()

    def has_settled(self, correlations: Sequence[float]) -> bool:
        """Return whether S(W) after the last relaxation is that after the one before.

        Args:
            correlations: S(W) after each epoch that is done.
        """
        done = self.ended(len(correlations))
        if done is None or done.name != RELAXATION:
            return False
        ends = [p.end for p in self.phases if p.name == RELAXATION and p.end <= done.end]
        changes = [abs(correlations[b - 1] - correlations[a - 1]) for a, b in pairwise(ends)]
        return bool(changes) and changes[-1] < self.spec.stop_delta


def plan_restraint_relaxation(
    model: nn.Module, spec: SvdnetSpec, *, base_lr: float
) -> RestraintRelaxation:
    """Return the phases of a run, for a model.

    Args:
        model: Left as it is.
        spec: How many, how long, how fast; with the length of step 0.
        base_lr: Learning rate of step 0.

    Raises:
        SurgeryError: The model has no Eigenlayer.
    """
    eigen_classifier(model)
    phases = plan_phases(spec, base_epochs=spec.base_epochs, base_lr=base_lr)
    return RestraintRelaxation(spec=spec, phases=phases, eigenlayer=eigenlayer_path(model))


def _on_cpu(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in module.state_dict().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedFreezing:
    """A `FreezeSchedule` that holds the Eigenlayer during each restraint.

    Attributes:
        others: What else is frozen, and when.
        phases: Of the run.
    """

    others: FreezeSchedule
    phases: RestraintRelaxation

    def require_something_to_train(self) -> None:
        """Refuse phases that would do nothing.

        Raises:
            ArgumentError: The Eigenlayer is never trained, or nothing else is in some phase.
        """
        weight = f"{self.phases.eigenlayer}.weight"
        for phase in self.phases.phases:
            epochs = range(phase.start, phase.end)
            if phase.name == RELAXATION and not any(weight in self.at(e) for e in epochs):
                raise ArgumentError(
                    f"--freeze holds the Eigenlayer, {phase.label} would not be one.",
                    hint="Freeze something else, or for the first epochs only: PATTERN@EPOCHS.",
                )
            if not all(self.at(epoch) for epoch in epochs):
                raise ArgumentError(
                    f"Nothing is left to train in {phase.label}.",
                    reason="The Eigenlayer is frozen there, and --freeze holds the rest, as far "
                    "as the loss trains it.",
                    hint="Freeze less, or add ce to --loss.",
                )

    @property
    def trained(self) -> frozenset[str]:
        """Names of the parameters that are trained at some time."""
        return self.others.trained

    def at(self, epoch: int) -> frozenset[str]:
        """Return names of the parameters that are trained in an epoch, counted from 0."""
        names = self.others.at(epoch)
        if self.phases.at(epoch).name != RESTRAINT:
            return names
        return names - {f"{self.phases.eigenlayer}.weight"}

    def note(self, epoch: int) -> str | None:
        """Return what thaws with an epoch, in a sentence."""
        return self.others.note(epoch)


class PhasedSchedule:
    """The learning rate as a function of the updates done: each phase has its own schedule.

    Args:
        optimizer: Whose groups' rates are set; they have an ``lr_scale`` each.
        training: The shape of the schedule within a phase; its warm-up is that of the first.
        phases: With their rates and lengths.
        updates_per_epoch: Steps of the optimizer in an epoch.

    Attributes:
        lead: As in `Schedule`.
    """

    lead = 0

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
            (phase, _alone(phase, training, updates_per_epoch), phase.start * updates_per_epoch)
            for phase in phases
        ]
        self.set_updates(0)

    def set_updates(self, updates: int) -> None:
        """Set the rates for the step after this many updates."""
        position = updates + self.lead
        begun = (row for row in reversed(self._phases) if row[2] <= position)
        _, schedule, start = next(begun)
        schedule.set_updates(position - start)
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.lr * group["lr_scale"]

    def last_lr(self, updates: int) -> float:
        """Return the rate that the phase of the last of so many updates ends this update with."""
        position = updates + self.lead
        begun = (row for row in reversed(self._phases) if row[2] < position)
        _, schedule, start = next(begun, self._phases[0])
        schedule.set_updates(position - start)
        return schedule.lr

    @property
    def lr(self) -> float:
        """The rate of a group with ``lr_scale`` 1, now."""
        group = self._optimizer.param_groups[0]
        return group["lr"] / group["lr_scale"]


def _alone(phase: Phase, training: TrainingSpec, updates_per_epoch: int) -> Schedule:
    """Return the schedule of a phase, over an optimizer of nothing."""
    warmup = training.warmup if phase.start == 0 else 0.0
    changed: dict[str, Any] = {"lr": phase.lr, "epochs": phase.epochs, "warmup_epochs": warmup}
    return schedule_alone(training.model_copy(update=changed), updates_per_epoch=updates_per_epoch)
