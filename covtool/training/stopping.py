"""When a run is over: after its last epoch, or when it has not improved for too long."""

from covtool.specs import TrainingSpec
from covtool.training.state import RunState


def is_finished(state: RunState, training: TrainingSpec) -> bool:
    """Whether no epoch is left; a function of what is saved, so that a resumed run knows it too."""
    return state.epoch >= training.epochs or has_stalled(state, training)


def has_stalled(state: RunState, training: TrainingSpec) -> bool:
    """Whether the last `patience` epochs were no better than the best before them."""
    if not training.patience or not state.values:
        return False
    best = state.values.index(max(state.values)) + 1
    return state.epoch - best >= training.patience


def stops_early(state: RunState, training: TrainingSpec) -> bool:
    """Whether the run ends before its last epoch."""
    return state.epoch < training.epochs and has_stalled(state, training)


def explain_end(state: RunState, training: TrainingSpec) -> str:
    """Why a finished run is over, and what makes it train longer, after a colon."""
    if not stops_early(state, training):
        return f"{state.epoch} epochs. Add --epochs {2 * state.epoch} to train longer."
    epochs = f"{training.patience} epoch{'s' * (training.patience > 1)}"
    return (
        f"{epochs} without a better {training.eval_metric}. "
        f"Resume it with --patience {2 * training.patience} to train longer."
    )
