"""The loss, a sum of terms: their functions, the embeddings that some compare, timm's mixing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from timm.data import Mixup
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from covtool.ops.circle import circle_loss
from covtool.ops.precision import at_least_float32
from covtool.ops.triplet import batch_hard_triplet
from covtool.processes import ALONE, Processes
from covtool.specs import ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES
from covtool.training.parts.single_output import several_outputs

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Logits or embeddings, as the row of the loss says, and targets to the mean loss."""


def _cross_entropy(objective: ObjectiveSpec, training: TrainingSpec) -> LossFunction:
    if training.mixup or training.cutmix:
        return SoftTargetCrossEntropy()  # `Mixup` smooths the targets that it mixes
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
"""The functions of the losses, by the names of `covtool.specs.losses.LOSSES`."""


class EmbeddedOutputs(NamedTuple):
    """The outputs of a forward pass where a loss compares embeddings.

    Attributes:
        logits: Outputs of the classifier, shape (B, K).
        embeddings: Inputs of the classifier, shape (B, D).
    """

    logits: Tensor
    embeddings: Tensor


Outputs = Tensor | EmbeddedOutputs
"""Logits (B, K) of a forward pass; with embeddings (B, D), where a loss needs them."""


class WithEmbeddings(nn.Module):
    """A model whose forward pass returns its logits and the input of its classifier.

    The embeddings are the input of the linear classifier: pooled, vectorized, and whatever the
    model does after that, dropout included. They are taken on the way, so this can be compiled,
    and wrapped for several processes, like the model itself, whose parameters keep their names
    there.

    Args:
        model: Model that gets a hook on its classifier and else stays as it is.
        classifier: Path of the classifier's module.
    """

    def __init__(self, model: nn.Module, classifier: str) -> None:
        super().__init__()
        self.model = model
        self._fed: list[Tensor] = []
        self._wanted = False
        model.get_submodule(classifier).register_forward_pre_hook(self._take)

    def forward(self, images: Tensor) -> EmbeddedOutputs:
        """Return logits (B, K) and embeddings (B, D)."""
        self._fed.clear()
        self._wanted = True
        try:
            logits = self.model(images)
        finally:
            # An evaluation calls the model itself: its features must not be kept in memory.
            self._wanted = False
        return EmbeddedOutputs(logits, self._fed.pop())

    def _take(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self._wanted:
            self._fed.append(inputs[0])


def gather_embeddings(
    embeddings: Tensor, labels: Tensor, processes: Processes
) -> tuple[Tensor, Tensor]:
    """Return embeddings and labels of all processes, for the loss of the whole batch.

    All processes compute the same loss, and each has the gradient by its own embeddings alone, so
    that nothing is exchanged on the way back. That gradient is enlarged so that the mean over the
    processes is the gradient of the loss, where each has weighted its loss by its share of the
    images times the number of processes, as for a mean over all images.

    Args:
        embeddings: Embeddings of this process, shape (B, D).
        labels: Labels of this process, shape (B,).
        processes: Processes that share the batch; they may differ in B.
    """
    if processes.world == 1:
        return embeddings, labels
    parts = processes.tensors(embeddings)
    # A view: the hook must see the gradient by this use of the embeddings, not by others.
    own = embeddings.view_as(embeddings)
    if own.requires_grad:
        images = sum(len(part) for part in parts)
        own.register_hook(lambda gradient: gradient * (images / len(own)))
    parts[processes.rank] = own
    return torch.cat(parts), torch.cat(processes.tensors(labels))


@dataclass(frozen=True, slots=True)
class _Term:
    name: str
    weight: float
    function: LossFunction
    needs: str


class Objective:
    """The function that is minimized.

    Args:
        objective: Terms of the loss.
        training: Settings of smoothing, mixup and cutmix.
        num_classes: Outputs of the model.
        processes: Processes that have a part of each batch; images are compared with those of all.
    """

    def __init__(
        self,
        objective: ObjectiveSpec,
        training: TrainingSpec,
        num_classes: int,
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self._mixup = None
        self._off_epoch = training.mixup_off_epoch
        if training.mixup or training.cutmix:
            self._mixup = Mixup(
                mixup_alpha=training.mixup,
                cutmix_alpha=training.cutmix,
                label_smoothing=training.smoothing,
                num_classes=num_classes,
            )
        self._terms = tuple(
            _Term(
                term.name,
                term.weight,
                BUILDERS[term.name](objective, training),
                LOSSES[term.name].needs,
            )
            for term in objective.terms
        )

    def set_epoch(self, epoch: int) -> None:
        """Turn mixing off from `mixup_off_epoch` on; epochs are counted from 0."""
        if self._mixup is not None and self._off_epoch:
            self._mixup.mixup_enabled = epoch < self._off_epoch

    def prepare(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and targets, mixed where mixing is on; labels (B,) become (B, K) then.

        The images that are given stay as they are: timm mixes in place.
        """
        if self._mixup is None:
            return images, labels
        even = len(images) - len(images) % 2  # timm mixes an image with its mirror in the batch
        return self._mixup(images[:even].clone(), labels[:even])

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the terms of a sum; none where there is a single one."""
        return tuple(term.name for term in self._terms) if len(self._terms) > 1 else ()

    def terms(self, outputs: Outputs, targets: Tensor) -> dict[str, Tensor]:
        """Return each term's mean over a batch, without its weight, in float32 or better."""
        given = self._given(outputs, targets)
        return {term.name: term.function(*given[term.needs]) for term in self._terms}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms: what is minimized."""
        return sum(term.weight * terms[term.name] for term in self._terms)

    def __call__(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """Return mean loss of a batch, in nats, in float32 or better."""
        return self.total(self.terms(outputs, targets))

    def _given(self, outputs: Outputs, targets: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return what terms may need, under the words of the table of losses, with the targets."""
        # Half precision would overflow in the exponentials and lose the distances.
        if isinstance(outputs, Tensor):
            return {"logits": (at_least_float32(outputs), targets)}
        if not isinstance(outputs, EmbeddedOutputs):
            raise several_outputs(outputs)
        embeddings = at_least_float32(outputs.embeddings)
        return {
            "logits": (at_least_float32(outputs.logits), targets),
            "embeddings": gather_embeddings(embeddings, targets, self._processes),
        }
