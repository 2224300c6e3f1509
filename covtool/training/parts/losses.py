"""The functions of the losses that `covtool.specs.losses.LOSSES` names."""

from collections.abc import Callable
from functools import partial

from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from covtool.ops.circle import circle_loss
from covtool.ops.triplet import batch_hard_triplet
from covtool.specs import ObjectiveSpec, TrainingSpec

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Logits or embeddings, as the row of the loss says, and targets to the mean loss."""


def _cross_entropy(objective: ObjectiveSpec, training: TrainingSpec) -> LossFunction:
    if training.mixup or training.cutmix:
        return SoftTargetCrossEntropy()  # smoothed where they are mixed
    if training.smoothing:
        return LabelSmoothingCrossEntropy(training.smoothing)
    return nn.CrossEntropyLoss()


def _binary_cross_entropy(objective: ObjectiveSpec, training: TrainingSpec) -> LossFunction:
    return BinaryCrossEntropy(training.smoothing)


def _triplet(objective: ObjectiveSpec, training: TrainingSpec) -> LossFunction:
    return partial(batch_hard_triplet, margin=objective.triplet_margin)


def _circle(objective: ObjectiveSpec, training: TrainingSpec) -> LossFunction:
    return partial(circle_loss, margin=objective.margin, scale=objective.scale)


BUILDERS: dict[str, Callable[[ObjectiveSpec, TrainingSpec], LossFunction]] = {
    "ce": _cross_entropy,
    "bce": _binary_cross_entropy,
    "triplet": _triplet,
    "circle": _circle,
}
"""By the names of the table of losses."""
