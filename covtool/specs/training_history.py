"""What the history of a model says about its training."""

from collections.abc import Sequence

from covtool.specs.provenance import (
    AverageStep,
    ConversionStep,
    InitialWeightsStep,
    SavedStateStep,
    Since,
    Step,
    TrainingStep,
)


def was_trained(steps: Sequence[Step], *, since_eigenlayer: bool = False) -> bool:
    """Return whether the weights that a model has are trained ones.

    Args:
        steps: History of the model, oldest first.
        since_eigenlayer: Whether a training counts only if the Eigenlayer was there by then.
    """
    return _was_trained(steps, "eigenlayer" if since_eigenlayer else "ever")


def trained_as_they_are(steps: Sequence[Step]) -> bool:
    """Return whether the weights were trained since the last conversion."""
    return _was_trained(steps, "conversion")


def _was_trained(steps: Sequence[Step], since: Since) -> bool:
    for step in reversed(steps):
        # Weights of a file replace all that was trained before.
        if isinstance(step, InitialWeightsStep):
            return step.trained
        # It answers for all that its sources have behind them.
        if isinstance(step, AverageStep):
            return since in step.trained
        # An old line that does not say its epochs was written after some.
        if isinstance(step, TrainingStep | SavedStateStep) and step.epochs != 0:
            return True
        if isinstance(step, ConversionStep) and (
            since == "conversion" or (since == "eigenlayer" and _adds_eigenlayer(step))
        ):
            return False
    return False


def has_solved_head(steps: Sequence[Step]) -> bool:
    """Return whether a model has a calibrated head that no training has changed since.

    A training that solved it anew before each evaluation left such a head again.
    """
    if not steps:
        return False
    last = steps[-1]
    if isinstance(last, TrainingStep):
        return last.resolved_head
    if not isinstance(last, ConversionStep) or last.data is None:
        return False
    return any(record.operation == "head" for record in last.operations)


def trained_in_boxes(steps: Sequence[Step]) -> bool | None:
    """Return whether the last training was on cropped boxes; None where there is no training."""
    for step in reversed(steps):
        # A state of a run, say, does not tell what it was trained on: the training before it does.
        if isinstance(step, TrainingStep) and step.data is not None:
            return step.layout.crop == "boxes"
        if isinstance(step, AverageStep):
            return step.boxes
    return None


def _adds_eigenlayer(step: ConversionStep) -> bool:
    return any(done.operation == "eigenlayer" for done in step.operations)
