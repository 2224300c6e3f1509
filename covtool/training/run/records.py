"""The records of a run: an update, an epoch, its phase, and the figures that are measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from covtool.ops.temperature import TemperatureFit

COLUMNS = {
    "top_1": "eval_top1",
    "top_5": "eval_top5",
    "loss": "eval_loss",
    "rank_1": "eval_rank1",
    "rank_5": "eval_rank5",
    "rank_10": "eval_rank10",
    "rank_20": "eval_rank20",
    "mean_average_precision": "eval_mAP",
    "mean_inverse_penalty": "eval_mINP",
    "r_precision": "eval_r_precision",
    "map_at_r": "eval_mAP_at_R",
}
"""Names of figures to the columns of summary.csv; in percent, but the loss in nats."""

EVAL_METRICS = {
    "top1": ("top_1", 1),
    "top5": ("top_5", 1),
    "loss": ("loss", -1),
    "rank1": ("rank_1", 1),
    "mAP": ("mean_average_precision", 1),
}
"""Choices of ``--eval-metric``: a figure, and the sign with which more is better."""

_CHANCE_MARGIN = 1.01  # times the loss of a guess: a model that has yet to learn is just above it


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One update of the weights.

    Attributes:
        epoch: Epoch, counted from 1.
        step: Number within the epoch, counted from 1.
        steps: Updates in the epoch.
        update: Number within the run, counted from 1.
        loss: Mean over its images, in nats.
        lr: Learning rate that it was done with, of a group with lr_scale 1.
        grad_norm: Norm of the gradient before clipping.
        images_per_s: Images per second, loading included.
        eta_s: Seconds to the end of the run, at this pace.
        losses: Terms of a sum of losses, each without its weight; empty for a single one.
        grad_norm_centralized: Norm of the gradient after clipping and gradient centralization,
            without weight decay; None without centralization.
    """

    epoch: int
    step: int
    steps: int
    update: int
    loss: float
    lr: float
    grad_norm: float
    images_per_s: float
    eta_s: float
    losses: dict[str, float] = field(default_factory=dict)
    grad_norm_centralized: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    """The phase of SVDNet's training that an epoch belongs to.

    Attributes:
        name: Name such as ``restraint 2``; ``start`` for the model as it came.
        correlation: S(W) at the epoch's end, of the weights that are evaluated.
        smallest_eigenvalue_ratio: Smallest eigenvalue of the Gram matrix of W, over its smallest
            diagonal element.
        spectrum: Singular values of W in descending order, where the phase ends with this epoch;
            else none.
    """

    name: str
    correlation: float
    smallest_eigenvalue_ratio: float
    spectrum: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: Number, counted from 1; 0 for the model as it came.
        epochs: Epochs of the run.
        train_loss: Mean over its training images, in nats; None where nothing was trained.
        figures: Measured figures, by the names in `COLUMNS`; empty where nothing was measured.
        lr: Learning rate at its end; None where nothing was trained.
        is_best: Whether it is better than every epoch before.
        seconds: Duration, evaluation included.
        is_chance: Whether the metric is no better than that of a guess.
        replaced: Training images that others took the place of, being unreadable.
        head: Covtool head in use, as `--head-schedule` writes it; empty without one.
        phase: Phase of SVDNet's training; None for another training.
    """

    epoch: int
    epochs: int
    train_loss: float | None
    figures: Mapping[str, float]
    lr: float | None
    is_best: bool
    seconds: float
    is_chance: bool = False
    replaced: int = 0
    head: str = ""
    phase: PhaseRecord | None = None

    @property
    def eval_loss(self) -> float | None:
        """Cross entropy on the validation images, in nats."""
        return self.figures.get("loss")

    @property
    def top_1(self) -> float | None:
        """In percent."""
        return self.figures.get("top_1")

    @property
    def top_5(self) -> float | None:
        """In percent; None below six classes."""
        return self.figures.get("top_5")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """The figures that were measured after an epoch.

    Attributes:
        figures: Figures by the names in `COLUMNS`.
        images: Number of images they were measured on; of a search, the queries that count.
        temperature: Temperature of predictions that these images give; None where none is to be
            chosen, or there is none.
    """

    figures: Mapping[str, float]
    images: int
    temperature: TemperatureFit | None = None

    def value(self, metric: str) -> float:
        """Return a figure, more being better, by its name for ``--eval-metric``."""
        name, sign = EVAL_METRICS[metric]
        return sign * self.figures[name]


def is_chance(figures: Mapping[str, float], num_classes: int) -> bool:
    """Return whether a classifier is no better than a guess, and surer of its answers.

    Args:
        figures: ``top_1`` in percent and ``loss`` in nats; of a search, nothing is known.
        num_classes: Number of classes to guess from, equally often.
    """
    if num_classes < 2 or not figures.keys() >= {"top_1", "loss"}:
        return False
    right = figures["top_1"] > 100 / num_classes
    return not right and figures["loss"] > _CHANCE_MARGIN * math.log(num_classes)
