"""The temperature of predictions, from logits of images that the weights have not seen."""

from math import ceil
from typing import Literal

import torch
from torch import Tensor

from covtool.ops.temperature import AS_THEY_ARE, MOST_LOGITS, TemperatureFit
from covtool.specs import ScoreSpec

FEW_IMAGES = 50
"""Below that many, the temperature is a rough one."""

Method = Literal["leave-one-out", "validation"]


class HeldOutLogits:
    """Logits of held-out images as they come, of many images every so many.

    Args:
        num_images: Number of the images, of all processes together.
        num_classes: Number of logits of each.
    """

    def __init__(self, num_images: int, num_classes: int) -> None:
        self._every = ceil(num_images * num_classes / MOST_LOGITS)
        self._seen = 0
        # Of no images: one of several processes may get none at all.
        self._logits = [torch.empty(0, num_classes)]
        self._labels = [torch.empty(0, dtype=torch.long)]

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Take a batch, (B, K) and (B,)."""
        rows = slice(-self._seen % self._every, None, self._every)
        self._seen += len(logits)
        # Copies: a slice would keep the whole batch.
        self._logits.append(logits[rows].float().cpu().clone())
        self._labels.append(labels[rows].cpu().clone())

    @property
    def logits(self) -> Tensor:
        """The logits, (N, K) in float32."""
        return torch.cat(self._logits)

    @property
    def labels(self) -> Tensor:
        """The labels, (N,)."""
        return torch.cat(self._labels)


def score_spec(fit: TemperatureFit | None, method: Method, data: str) -> ScoreSpec | None:
    """Return the record of a temperature; None for none that means anything.

    Args:
        fit: The temperature.
        method: Way in which the images were held out.
        data: Name of the data set, and the split.
    """
    if fit is None or fit.bound == "hottest":
        return None
    return ScoreSpec(
        temperature=fit.temperature,
        method=method,
        data=data,
        images=fit.images,
        is_bounded=fit.bound == "surest",
    )


def note_on_temperature(scores: ScoreSpec | None) -> str | None:
    """Return a sentence on a temperature that is missing or rough; None for a sound one."""
    if scores is None:
        return (
            "No temperature of predictions is chosen: the logits of held-out images say no more "
            "than equal probabilities would, or the images are of a single class. Probabilities "
            "are those of the logits as they are."
        )
    if scores.is_bounded:
        return (
            f"Next to none of the {scores.images} held-out images is wrong, which alone would ask "
            "for ever lower temperatures. So few images show no mean confidence beyond "
            f"1 - 1/{scores.images + 2}: {_outcome_of_bound(scores.temperature)}"
        )
    if scores.images < FEW_IMAGES:
        return (
            f"The temperature of predictions, {scores.temperature:.3g}, rests on {scores.images} "
            "images: it is a rough one."
        )
    return None


def note_on_chosen(scores: ScoreSpec | None) -> str | None:
    """Return a sentence on the temperature that a file has, where it is rough; else None."""
    return None if scores is None else note_on_temperature(scores)


def _outcome_of_bound(temperature: float) -> str:
    if temperature < AS_THEY_ARE:
        return f"the temperature goes down to {temperature:.3g}, where that is reached."
    return (
        "the logits as they are have that already, and the temperature stays 1. Whether the "
        "probabilities are too sure is not known."
    )
