"""A run as a list of phases; plain fine-tuning is a run of one.

Which phase an epoch is in is a function of the epoch alone, so that a resumed run has the same one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from covtool.processes import ALONE, Processes
from covtool.specs import TrainingSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseKind:
    """A row of the table of kinds of phases.

    Attributes:
        name: Name that the summary of a run shows.
        summary: Short description of what is done; a name in braces is filled in by the run.
        is_shown: Whether a run names the phases of this kind in its logs and its history.
        judged_each_epoch: Whether the model is evaluated after every epoch, not only at the
            phase's end.
        restrains: Whether the Eigenlayer is made orthogonal first and then frozen.
        relaxes: Whether everything is trained again after a restraint.
    """

    name: str
    summary: str
    is_shown: bool = True
    judged_each_epoch: bool = False
    restrains: bool = False
    relaxes: bool = False


FINETUNE, BASE, RESTRAINT, RELAXATION = "finetune", "base", "restraint", "relaxation"
KINDS: dict[str, PhaseKind] = {
    kind.name: kind
    for kind in (
        PhaseKind(
            name=FINETUNE, summary="everything is trained", is_shown=False, judged_each_epoch=True
        ),
        PhaseKind(name=BASE, summary="everything is trained"),
        PhaseKind(
            name=RESTRAINT,
            summary="W <- {decomposition}, the Eigenlayer is frozen",
            restrains=True,
        ),
        PhaseKind(name=RELAXATION, summary="everything is trained", relaxes=True),
    )
}
"""The kinds of phases that a run may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs that are trained alike.

    Attributes:
        name: Name of its kind.
        iteration: Number of the restraint or the relaxation, from 1; 0 for another kind.
        start: First epoch, counted from 0.
        epochs: Number of epochs.
        lr: Learning rate of a group with lr_scale 1, at the top of the phase's schedule.
    """

    name: Literal["finetune", "base", "restraint", "relaxation"]
    iteration: int = 0
    start: int = 0
    epochs: int
    lr: float

    @property
    def kind(self) -> PhaseKind:
        """The row of its kind."""
        return KINDS[self.name]

    @property
    def label(self) -> str:
        """Its name with its number, as ``restraint 2``; empty where a run shows none."""
        if not self.kind.is_shown:
            return ""
        return f"{self.name} {self.iteration}" if self.iteration else self.name

    @property
    def end(self) -> int:
        """The first epoch that is not in it any more."""
        return self.start + self.epochs


@dataclass(frozen=True, kw_only=True)
class TrainingPhases:
    """The phases of a run, and what happens between them.

    Attributes:
        phases: The phases in order, at least one; the first starts with epoch 0.
    """

    phases: tuple[Phase, ...]

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return self.phases[-1].end

    @property
    def shown(self) -> tuple[Phase, ...]:
        """The phases that logs, plan and history of the run name; none for plain fine-tuning."""
        return tuple(phase for phase in self.phases if phase.kind.is_shown)

    @property
    def holds(self) -> tuple[tuple[range, frozenset[str]], ...]:
        """Epochs in which a phase freezes parameters, with their names."""
        return ()

    @property
    def length(self) -> str:
        """The option that says how long the run is, with its value."""
        return f"--epochs {self.epochs}"

    def at(self, epoch: int) -> Phase:
        """Return the phase that an epoch, counted from 0, is in.

        A run of one phase may be given fewer epochs than it has done: the last phase stands for
        what comes after it.
        """
        return next(phase for phase in reversed(self.phases) if phase.start <= epoch)

    def begins(self, epoch: int) -> Phase | None:
        """Return the phase that begins with an epoch; None where none does."""
        return next((phase for phase in self.phases if phase.start == epoch), None)

    def ended(self, epochs: int) -> Phase | None:
        """Return the phase that ends with this number of epochs done; None where none does."""
        return next((phase for phase in self.phases if phase.end == epochs), None)

    def is_judged_after(self, epoch: int) -> bool:
        """Return whether the model is evaluated after an epoch, counted from 0."""
        return self.at(epoch).kind.judged_each_epoch or self.ended(epoch + 1) is not None

    def note(self, epoch: int) -> str | None:
        """Return a sentence on the phase that begins with an epoch; None where none does."""
        return None

    def require_something_to_train(self, trained: Callable[[int], frozenset[str]]) -> None:
        """Refuse phases that would do nothing.

        Args:
            trained: Names of the parameters that are trained in an epoch.
        """
        # One phase of plain fine-tuning: `plan_freezing` has seen to its first epoch, and rules of
        # freezing only ever end.

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

        The optimizer forgets its momentum, as a training that is started anew does.

        Args:
            models: The model that is trained, and its moving average where there is one.
            epoch: Epoch that begins, counted from 0.
            forget: Function that brings the optimizer back to before its first step.
            seed: Random seed of the run.
            processes: Processes that train together.
        """
        if epoch > 0 and self.begins(epoch) is not None:
            forget()

    def has_settled(self, correlations: Sequence[float]) -> bool:
        """Return whether the run has reached a state that more epochs would not change.

        Args:
            correlations: S(W) after each epoch that is done.
        """
        return False

    @property
    def can_be_shortened(self) -> bool:
        """Whether a run that has done an epoch may be given fewer epochs than that."""
        return True

    def explain_end(self, epochs: int, *, settled: bool) -> str:
        """Return the reason why a run is over, and how to train longer.

        Args:
            epochs: Number of epochs done.
            settled: Whether it ended early because `has_settled`.
        """
        return f"{epochs} epoch{'s' * (epochs != 1)}. Add --epochs {2 * epochs} to train longer."


def single_phase(training: TrainingSpec) -> TrainingPhases:
    """Return the one phase of plain fine-tuning."""
    return TrainingPhases(
        phases=(Phase(name=FINETUNE, epochs=training.epochs, lr=training.peak_lr),)
    )
