"""Restraint and relaxation iterations, the phases of SVDNet.

Step 0 trains everything. Then, in turns: the weight vectors of the Eigenlayer are made orthogonal
and held (restraint), and everything is trained again (relaxation).

Source:
    Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from covtool.errors import ArgumentError
from covtool.layers import EigenClassifier
from covtool.processes import ALONE, Processes
from covtool.specs import SvdnetSpec
from covtool.surgery.eigenlayer import eigen_classifier, eigenlayer_path
from covtool.training.parts.phases import BASE, RELAXATION, RESTRAINT, Phase, TrainingPhases


def plan_phases(spec: SvdnetSpec, *, base_epochs: int, base_lr: float) -> tuple[Phase, ...]:
    """Return the phases of a run in order, if it is not stopped before.

    Args:
        spec: Number, lengths and learning rates of the iterations.
        base_epochs: Length of step 0, its default resolved; 0 leaves it out.
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


@dataclass(frozen=True, kw_only=True)
class RestraintRelaxation(TrainingPhases):
    """The phases of SVDNet, for a model with an Eigenlayer.

    Attributes:
        phases: The phases in order.
        spec: Settings that the phases come from.
        eigenlayer: Path of the Eigenlayer.
    """

    spec: SvdnetSpec
    eigenlayer: str

    @property
    def holds(self) -> tuple[tuple[range, frozenset[str]], ...]:
        weight = frozenset((self._weight,))
        restraints = (phase for phase in self.phases if phase.kind.restrains)
        return tuple((range(phase.start, phase.end), weight) for phase in restraints)

    @property
    def length(self) -> str:
        return f"--rri {self.spec.rri}"

    @property
    def can_be_shortened(self) -> bool:
        return False  # weights in the middle of later phases are those of none of the earlier ones

    @property
    def _weight(self) -> str:
        return f"{self.eigenlayer}.weight"

    def note(self, epoch: int) -> str | None:
        phase = self.begins(epoch)
        if phase is None:
            return None
        done = phase.kind.summary.format(decomposition=self.spec.decomposition.upper())
        return f"Epoch {epoch + 1}: {phase.label} ({done}), lr {phase.lr:g}."

    def require_something_to_train(self, trained: Callable[[int], frozenset[str]]) -> None:
        """Refuse phases that would do nothing.

        Raises:
            ArgumentError: The Eigenlayer is never trained, or nothing else is in some phase.
        """
        for phase in self.phases:
            epochs = range(phase.start, phase.end)
            if phase.kind.relaxes and not any(self._weight in trained(e) for e in epochs):
                raise ArgumentError(
                    f"--freeze holds the Eigenlayer, {phase.label} would not be one.",
                    hint="Freeze something else, or for the first epochs only: PATTERN@EPOCHS.",
                )
            if not all(trained(epoch) for epoch in epochs):
                raise ArgumentError(
                    f"Nothing is left to train in {phase.label}.",
                    reason="The Eigenlayer is frozen there, and --freeze holds the rest, as far "
                    "as the loss trains it.",
                    hint="Freeze less, or add ce to --loss.",
                )

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

        At a restraint the Eigenlayer is decorrelated; further models (a moving average) become
        copies of the first.

        Args:
            models: The model that is trained, and its moving average where there is one.
            epoch: Epoch that begins, counted from 0.
            forget: Function that brings the optimizer back to before its first step.
            seed: Random seed of a classifier that is reset.
            processes: Processes that train together, and have the same vectors afterwards.
        """
        super().enter_(models, epoch, forget=forget, seed=seed, processes=processes)
        phase = self.begins(epoch)
        if phase is None or not phase.kind.restrains:
            return
        trained, *averages = models
        layers = eigen_classifier(trained)
        self._decorrelate_(layers, seed + epoch)
        # Those of the first process: devices that are not alike need not agree on a decomposition
        # to the last bit. By way of the CPU, as a device of one process is none of another.
        layers.load_state_dict(
            processes.main(lambda: {n: t.cpu() for n, t in layers.state_dict().items()})
        )
        # An average of vectors before and after would be one of different axes.
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
            # A generator of its own: all processes, and a resumed run, draw the same weights.
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
        if done is None or not done.kind.relaxes:
            return False
        ends = [p.end for p in self.phases if p.kind.relaxes and p.end <= done.end]
        changes = [abs(correlations[b - 1] - correlations[a - 1]) for a, b in pairwise(ends)]
        return bool(changes) and changes[-1] < self.spec.stop_delta

    def explain_end(self, epochs: int, *, settled: bool) -> str:
        if settled:
            return (
                f"S(W) after relaxation changed by less than --stop-delta {self.spec.stop_delta:g}."
                " Resume it with --stop-delta 0 to train longer."
            )
        rri = self.spec.rri
        iterations = f"{rri} iteration{'s' * (rri != 1)}"
        return f"{iterations}, {epochs} epochs. Add --rri {max(1, 2 * rri)} to train longer."


def plan_restraint_relaxation(
    model: nn.Module, spec: SvdnetSpec, *, base_lr: float
) -> RestraintRelaxation:
    """Return the phases of a run, for a model.

    Args:
        model: Model with an Eigenlayer; stays as it is.
        spec: Number, lengths and learning rates of the phases, step 0 included.
        base_lr: Learning rate of step 0.

    Raises:
        SurgeryError: The model has no Eigenlayer.
    """
    eigen_classifier(model)
    phases = plan_phases(spec, base_epochs=spec.base_epochs, base_lr=base_lr)
    return RestraintRelaxation(spec=spec, phases=phases, eigenlayer=eigenlayer_path(model))
