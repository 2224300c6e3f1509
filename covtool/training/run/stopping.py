"""The end of a run: its last epoch, no improvement for a while, or an S(W) that has settled."""

from covtool.errors import ArgumentError
from covtool.figure_names import figure_name
from covtool.specs import TrainingSpec
from covtool.training.parts.phases import TrainingPhases
from covtool.training.run.state import RunState


def is_finished(state: RunState, training: TrainingSpec, phases: TrainingPhases) -> bool:
    """Return whether no epoch is left; depends on saved values only, so that resuming agrees."""
    if state.epoch >= training.epochs:
        return True
    # Weights that an epoch has changed since are not those that had stalled or settled.
    return not state.in_epoch and (
        has_stalled(state, training) or phases.has_settled(state.correlations)
    )


def has_stalled(state: RunState, training: TrainingSpec) -> bool:
    """Return whether the last `patience` epochs were no better than the best before them."""
    if not training.patience or not state.values:
        return False
    # An equal value later is no improvement: the first of equals counts, as in `best_epoch`.
    best = state.values.index(max(state.values)) + 1
    return state.epoch - best >= training.patience


def refuse_to_go_back(state: RunState, training: TrainingSpec, phases: TrainingPhases) -> None:
    """Refuse to end a run before an epoch that it has begun, or in the middle of a phase.

    Raises:
        ArgumentError: It is to have fewer epochs than that.
    """
    begun = state.epoch + state.in_epoch
    may_end_here = phases.can_be_shortened and not state.in_epoch
    if begun <= training.epochs or may_end_here:
        return
    raise ArgumentError(
        f"With {phases.length} the run would end after epoch {training.epochs}, but it has begun "
        f"epoch {begun}.",
        hint="The weights cannot go back: leave it out, or give more.",
    )


def stops_early(state: RunState, training: TrainingSpec, phases: TrainingPhases) -> bool:
    """Return whether the run ends before its last epoch."""
    return state.epoch < training.epochs and is_finished(state, training, phases)


def explain_end(state: RunState, training: TrainingSpec, phases: TrainingPhases) -> str:
    """Return why a finished run is over, and what makes it train longer, after a colon."""
    early = stops_early(state, training, phases)
    if not (early and has_stalled(state, training)):
        return phases.explain_end(state.epoch, settled=early)
    epochs = f"{training.patience} epoch{'s' * (training.patience > 1)}"
    return (
        f"{epochs} without a better {figure_name(training.eval_metric)}. "
        f"Resume it with --patience {2 * training.patience} to train longer."
    )
