"""When a run is over: after its last epoch, when it does not improve, or when S(W) has settled."""

from covtool.errors import ArgumentError
from covtool.specs import TrainingSpec
from covtool.training.parts.restraint_relaxation import RestraintRelaxation
from covtool.training.run.state import RunState


def is_finished(
    state: RunState, training: TrainingSpec, phases: RestraintRelaxation | None = None
) -> bool:
    """Whether no epoch is left; a function of what is saved, so that a resumed run knows it too."""
    if state.epoch >= training.epochs:
        return True
    # Weights that an epoch has changed since are not those that had stalled or settled.
    return not state.in_epoch and (has_stalled(state, training) or has_settled(state, phases))


def has_stalled(state: RunState, training: TrainingSpec) -> bool:
    """Return whether the last `patience` epochs were no better than the best before them."""
    if not training.patience or not state.values:
        return False
    best = state.values.index(max(state.values)) + 1
    return state.epoch - best >= training.patience


def has_settled(state: RunState, phases: RestraintRelaxation | None) -> bool:
    """Return whether S(W) is the same after two relaxations, the second of which was just done."""
    return phases is not None and phases.has_settled(state.correlations)


def refuse_to_go_back(
    state: RunState, training: TrainingSpec, phases: RestraintRelaxation | None = None
) -> None:
    """Refuse to end a run before an epoch that it has begun, or in the middle of a phase.

    Raises:
        ArgumentError: It is to have fewer epochs than that.
    """
    begun = state.epoch + state.in_epoch
    if begun <= training.epochs or not (state.in_epoch or phases):
        return
    asked = f"--epochs {training.epochs}" if phases is None else f"--rri {phases.spec.rri}"
    raise ArgumentError(
        f"With {asked} the run would end after epoch {training.epochs}, but it has begun epoch "
        f"{begun}.",
        hint="Weights do not go back: leave it out, or give more.",
    )


def stops_early(
    state: RunState, training: TrainingSpec, phases: RestraintRelaxation | None = None
) -> bool:
    """Return whether the run ends before its last epoch."""
    return state.epoch < training.epochs and is_finished(state, training, phases)


def explain_end(
    state: RunState, training: TrainingSpec, phases: RestraintRelaxation | None = None
) -> str:
    """Return why a finished run is over, and what makes it train longer, after a colon."""
    if phases is not None:
        return _explain_phases(state, training, phases)
    if not stops_early(state, training):
        return f"{state.epoch} epochs. Add --epochs {2 * state.epoch} to train longer."
    epochs = f"{training.patience} epoch{'s' * (training.patience > 1)}"
    return (
        f"{epochs} without a better {training.eval_metric}. "
        f"Resume it with --patience {2 * training.patience} to train longer."
    )


def _explain_phases(state: RunState, training: TrainingSpec, phases: RestraintRelaxation) -> str:
    if stops_early(state, training, phases):
        return (
            f"S(W) after relaxation changed by less than --stop-delta {phases.spec.stop_delta:g}. "
            "Resume it with --stop-delta 0 to train longer."
        )
    rri = phases.spec.rri
    iterations = f"{rri} iteration{'s' * (rri != 1)}"
    return f"{iterations}, {state.epoch} epochs. Add --rri {max(1, 2 * rri)} to train longer."
