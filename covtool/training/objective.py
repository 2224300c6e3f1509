"""The loss, with label smoothing, mixup and cutmix, by timm."""

from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from covtool.specs import TrainingSpec


class Objective:
    """What is minimized.

    Args:
        training: Smoothing, mixup, cutmix.
        num_classes: Outputs of the model.
    """

    def __init__(self, training: TrainingSpec, num_classes: int) -> None:
        self._mixup = None
        self._off_epoch = training.mixup_off_epoch
        if training.mixup or training.cutmix:
            self._mixup = Mixup(
                mixup_alpha=training.mixup,
                cutmix_alpha=training.cutmix,
                label_smoothing=training.smoothing,
                num_classes=num_classes,
            )
        self._loss = _loss(training.smoothing, mixed=self._mixup is not None)

    def set_epoch(self, epoch: int) -> None:
        """Whether this epoch, counted from 0, still mixes."""
        if self._mixup is not None and self._off_epoch:
            self._mixup.mixup_enabled = epoch < self._off_epoch

    def prepare(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets, mixed where mixing is on; labels (B,) become (B, K) then.

        The images that are given stay as they are: timm mixes in place.
        """
        if self._mixup is None:
            return images, labels
        even = len(images) - len(images) % 2
        return self._mixup(images[:even].clone(), labels[:even])

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch, in nats, in float32 or better."""
        return self._loss(logits if logits.dtype.itemsize >= 4 else logits.float(), targets)


def _loss(smoothing: float, *, mixed: bool) -> nn.Module:
    if mixed:
        return SoftTargetCrossEntropy()
    return LabelSmoothingCrossEntropy(smoothing) if smoothing else nn.CrossEntropyLoss()
