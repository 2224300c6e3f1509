"""Optimizer, schedule and regularization of a training run, in timm's words."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, Self

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from covtool.specs.record import CheckedRecord, Contradiction, PositiveFloat

RUN: JsonDict = {"panel": "Run"}
OPTIMIZER: JsonDict = {"panel": "Optimizer"}
SCHEDULE: JsonDict = {"panel": "Learning rate"}
REGULARIZATION: JsonDict = {"panel": "Regularization"}
CENTRALIZATION: JsonDict = {"panel": "Gradient centralization"}

AUTO = "auto"
"""The learning rate that a range test is to find."""

RECORDED = ("lr_rule",)
"""Entries of args.yaml that say how a setting came about, and are none: not for another run."""

WARMUP_AT_MOST = 1.0  # epochs, where none are asked for
WARMUP_SHARE = 0.1  # of all epochs

USUAL_LR, USUAL_HEAD_LR_MULT = 5e-4, 5.0
SOLVED_LR, SOLVED_HEAD_LR_MULT = 1e-2, 1.0
"""Rates with a classifier that is solved anew: `benchmarks/calibrated_finetuning.py`."""


class OptimizationSpec(CheckedRecord):
    """Epochs, optimizer, learning rates and regularization of a training run.

    The defaults are for fine-tuning a pretrained network on a few thousand images: SGD with
    Nesterov momentum, which the papers of covtool's methods use and which needs half the memory of
    Adam, at a rate at which a calibrated covariance head survives its first steps (its features are
    long vectors, and its classifier answers sharply), five times that for the head,
    a short warm-up, and a cosine down to zero, update by update.
    """

    model_config = ConfigDict(protected_namespaces=())  # timm's names begin with model_

    epochs: int = Field(
        30, ge=1, description="Number of passes over the training images.", json_schema_extra=RUN
    )
    batch_size: int = Field(
        32, ge=1, description="Images per batch.", json_schema_extra={**RUN, "short": "-b"}
    )

    opt: str = Field(
        "sgd",
        description="Optimizer, by timm's name: sgd, adamw, nadamw, lamb, lion, muon, ...",
        json_schema_extra=OPTIMIZER,
    )
    momentum: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="Momentum, if the optimizer uses it.",
        json_schema_extra=OPTIMIZER,
    )
    # No default: each optimizer of timm has its own.
    opt_betas: tuple[float, float] | None = Field(
        None, description="Betas, if the optimizer uses them.", json_schema_extra=OPTIMIZER
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="Weight decay of weights with two axes or more; biases and norms have none.",
        json_schema_extra=OPTIMIZER,
    )
    clip_grad: float | None = Field(
        None,
        gt=0,
        description="Largest norm of the gradient; a larger one is clipped.",
        json_schema_extra=OPTIMIZER,
    )
    grad_accum_steps: int = Field(
        1, ge=1, description="Batches per update.", json_schema_extra=OPTIMIZER
    )

    # Resolved once, before anything is trained: args.yaml has what it came to.
    lr: PositiveFloat | Literal["auto"] | None = Field(
        None,
        description="Learning rate of the backbone; auto: by a range test; default: 5e-4, 1e-2 "
        "with a solved head.",
        json_schema_extra={**SCHEDULE, "or": AUTO},
    )
    # Written where the rate was found, so that nobody takes it for one that was chosen.
    lr_rule: str | None = Field(
        None,
        max_length=100,
        description="Rule by which a range test found the learning rate.",
        json_schema_extra={**SCHEDULE, "flag": False},
    )
    # A new head starts from nothing, the backbone from good weights.
    head_lr_mult: float | None = Field(
        None,
        gt=0,
        description="Learning rate of the pooling and the classifier, as a multiple of --lr; "
        "default: 5, or 1 with a solved classifier.",
        json_schema_extra=SCHEDULE,
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Factor of the learning rate for each layer further from the head (timm "
        "models).",
        json_schema_extra=SCHEDULE,
    )
    sched: Literal["cosine", "step", "multistep", "poly", "constant"] = Field(
        "cosine",
        description="Schedule of the learning rate, timm's, advanced with every update.",
        json_schema_extra=SCHEDULE,
    )
    # None until the number of epochs is known: a short run gets a short warm-up.
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        description="Epochs of linear warm-up; default: a tenth of the epochs, at most one.",
        json_schema_extra=SCHEDULE,
    )
    warmup_lr: float = Field(
        1e-5,
        ge=0,
        description="Learning rate at which the warm-up starts.",
        json_schema_extra=SCHEDULE,
    )
    min_lr: float = Field(
        0.0,
        ge=0,
        description="Learning rate at which cosine and poly end.",
        json_schema_extra=SCHEDULE,
    )
    decay_epochs: float = Field(
        10.0, gt=0, description="Epochs between two decays (step).", json_schema_extra=SCHEDULE
    )
    decay_milestones: tuple[int, ...] = Field(
        (), description="Epochs after which to decay (multistep).", json_schema_extra=SCHEDULE
    )
    decay_rate: float = Field(
        0.1,
        gt=0,
        description="Factor of step and multistep; power of poly.",
        json_schema_extra=SCHEDULE,
    )

    smoothing: float = Field(
        0.1, ge=0, lt=1, description="Label smoothing.", json_schema_extra=REGULARIZATION
    )
    mixup: float = Field(
        0.0, ge=0, description="Alpha of mixup; 0 is off.", json_schema_extra=REGULARIZATION
    )
    cutmix: float = Field(
        0.0, ge=0, description="Alpha of cutmix; 0 is off.", json_schema_extra=REGULARIZATION
    )
    mixup_off_epoch: int = Field(
        0,
        ge=0,
        description="Epoch from which on mixup and cutmix are off; 0: never.",
        json_schema_extra=REGULARIZATION,
    )
    model_ema: bool = Field(
        False,
        description="Keep a moving average of the weights, which is evaluated and exported.",
        json_schema_extra=REGULARIZATION,
    )
    model_ema_decay: float = Field(
        0.9998,
        gt=0,
        lt=1,
        description="Decay of the moving average, reached after a warm-up.",
        json_schema_extra=REGULARIZATION,
    )

    gc: bool = Field(
        False, description="Centralize the gradients of weights.", json_schema_extra=CENTRALIZATION
    )
    gc_conv_only: bool = Field(
        False,
        description="Centralize the gradients of convolutions only.",
        json_schema_extra=CENTRALIZATION,
    )
    gc_on: Literal["gradient", "update"] = Field(
        "gradient",
        description="Tensor that is centralized: the gradient, before the optimizer, or the "
        "optimizer's update, for adaptive ones.",
        json_schema_extra=CENTRALIZATION,
    )

    @property
    def warmup(self) -> float:
        """Epochs of warm-up, the default worked out."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        # A share of a short run, one epoch of a long one.
        return min(WARMUP_AT_MOST, WARMUP_SHARE * self.epochs)

    def with_rate_to_find(self) -> Self:
        """Return the same settings with a learning rate that is to be found."""
        return self.model_copy(update={"lr": AUTO})

    @property
    def lowest_peak(self) -> float:
        """The rate that the schedule's other ends leave for its top: it starts and ends below."""
        return max(self.warmup_lr if self.warmup else 0.0, self.min_lr)

    @property
    def centralized(self) -> str:
        """What --gc centralizes, in words; empty without it."""
        if not self.gc:
            return ""
        return f"{self.gc_on} of convolutions" if self.gc_conv_only else self.gc_on

    def contradictions(self) -> Iterator[Contradiction]:
        yield (
            self.warmup >= self.epochs,
            f"--warmup-epochs {self.warmup:g} leaves nothing of --epochs {self.epochs}.",
            "Warm up for fewer epochs.",
        )
        # One that is left open is at most that; it is looked at again once it is known.
        peak = self.lr if isinstance(self.lr, float) else max(USUAL_LR, SOLVED_LR)
        yield (
            self.lr != AUTO and self.lowest_peak > peak,
            f"--lr {peak} is below --warmup-lr {self.warmup_lr:g} or --min-lr {self.min_lr:g}.",
            "Lower those as well.",
        )
        yield (
            self.sched == "multistep" and not self.decay_milestones,
            "--sched multistep does not say after which epochs to decay.",
            "Add --decay-milestones 10 --decay-milestones 20.",
        )
        yield (
            # With 0 in front: the first milestone must be 1 at least.
            any(a >= b for a, b in pairwise((0, *self.decay_milestones))),
            f"--decay-milestones {', '.join(map(str, self.decay_milestones))} do not rise from 1.",
            "Give them in order, for example 10 and 20.",
        )
        yield (
            self.gc_conv_only and not self.gc,
            "--gc-conv-only has no effect without --gc.",
            "Add --gc, or leave it out.",
        )
        yield (
            self.gc_on != "gradient" and not self.gc,
            f"--gc-on {self.gc_on} has no effect without --gc.",
            "Add --gc, or leave it out.",
        )
        yield (
            self.mixup_off_epoch > 0 and not (self.mixup or self.cutmix),
            "--mixup-off-epoch has no effect without --mixup or --cutmix.",
            "Add --mixup 0.2, or leave it out.",
        )
        yield (
            # timm pairs the first image of a batch with the last, and so on to the middle.
            bool(self.mixup or self.cutmix) and self.batch_size % 2 == 1,
            f"Mixup and cutmix mix pairs, and --batch-size {self.batch_size} is odd.",
            f"Use --batch-size {self.batch_size + 1}.",
        )
