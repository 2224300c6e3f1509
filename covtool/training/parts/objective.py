"""The loss, a sum of terms, with label smoothing, mixup and cutmix by timm."""

from dataclasses import dataclass

from timm.data import Mixup
from torch import Tensor

from covtool.ops.precision import at_least_float32
from covtool.processes import ALONE, Processes
from covtool.specs import ObjectiveSpec, TrainingSpec
from covtool.specs.losses import LOSSES
from covtool.training.parts.embedding import Described
from covtool.training.parts.gathering import gathered
from covtool.training.parts.losses import BUILDERS, LossFunction
from covtool.training.parts.single_output import several_outputs

Outputs = Tensor | Described
"""Of a forward pass: logits (B, K); with embeddings (B, D), where a loss needs them."""


@dataclass(frozen=True, slots=True)
class _Term:
    name: str
    weight: float
    function: LossFunction
    needs: str


class Objective:
    """What is minimized.

    Args:
        objective: The terms of the loss.
        training: Smoothing, mixup, cutmix.
        num_classes: Outputs of the model.
        processes: That have a part of each batch; images are compared with those of all.
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
        """Whether this epoch, counted from 0, still mixes."""
        if self._mixup is not None and self._off_epoch:
            self._mixup.mixup_enabled = epoch < self._off_epoch

    def prepare(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and targets, mixed where mixing is on; labels (B,) become (B, K) then.

        The images that are given stay as they are: timm mixes in place.
        """
        if self._mixup is None:
            return images, labels
        even = len(images) - len(images) % 2
        return self._mixup(images[:even].clone(), labels[:even])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the terms of a sum; none where there is a single one."""
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
        if isinstance(outputs, Tensor):
            return {"logits": (at_least_float32(outputs), targets)}
        if not isinstance(outputs, Described):
            raise several_outputs(outputs)
        embeddings = at_least_float32(outputs.embeddings)
        return {
            "logits": (at_least_float32(outputs.logits), targets),
            "embeddings": gathered(embeddings, targets, self._processes),
        }
