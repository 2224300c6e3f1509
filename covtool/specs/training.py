"""How a model is trained, in timm's words."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from pydantic import ConfigDict, Field

from covtool.errors import ArgumentError
from covtool.specs.record import Record

RUN = {"panel": "Run"}
OPTIMIZER = {"panel": "Optimizer"}
SCHEDULE = {"panel": "Learning rate"}
REGULARIZATION = {"panel": "Regularization"}
CENTRALIZATION = {"panel": "Gradient centralization"}
FILTERS = {"panel": "Decoupled convolutions"}
PARTS = {"panel": "What is trained"}
SPEED = {"panel": "Speed and device"}
WATCHING = {"panel": "Watching and keeping"}

BACKBONE = "backbone"
WARMUP_AT_MOST = 1.0  # epochs, where none are asked for
WARMUP_SHARE = 0.1  # of all epochs


class TrainingSpec(Record):
    """Every setting of a training run but the augmentation.

    The defaults are for fine-tuning a pretrained network on a few thousand images: SGD with
    Nesterov momentum, which the papers of covtool's methods use and which needs half the memory of
    Adam, at a rate at which a calibrated covariance head survives its first steps (its features are
    long vectors, and its classifier answers sharply), five times that for the head,
    a short warm-up, and a cosine down to zero, update by update. The batch norms of a pretrained
    backbone keep their statistics: those of small batches of few classes are others, and a head
    that was calibrated on the kept ones would lose most of what it knows in the first steps.
    """

    model_config = ConfigDict(protected_namespaces=())  # timm's names begin with model_

    epochs: int = Field(
        30, ge=1, description="Times through the training images.", json_schema_extra=RUN
    )
    batch_size: int = Field(
        32, ge=1, description="Images per batch.", json_schema_extra={**RUN, "short": "-b"}
    )
    seed: int = Field(42, ge=0, description="Of everything random.", json_schema_extra=RUN)
    val_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Set aside this share of each class for validation, where the data has none.",
        json_schema_extra=RUN,
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error", description="What to do about unreadable images.", json_schema_extra=RUN
    )

    opt: str = Field(
        "sgd",
        description="timm's optimizer: sgd, adamw, nadamw, lamb, lion, muon, ...",
        json_schema_extra=OPTIMIZER,
    )
    momentum: float = Field(
        0.9, ge=0, lt=1, description="Of optimizers that have one.", json_schema_extra=OPTIMIZER
    )
    opt_betas: tuple[float, float] | None = Field(
        None, description="Of optimizers that have them.", json_schema_extra=OPTIMIZER
    )
    weight_decay: float = Field(
        1e-4,
        ge=0,
        description="Of weights with two axes or more; biases and norms have none.",
        json_schema_extra=OPTIMIZER,
    )
    clip_grad: float | None = Field(
        None, gt=0, description="Clip the norm of the gradient here.", json_schema_extra=OPTIMIZER
    )
    grad_accum_steps: int = Field(
        1, ge=1, description="Batches per update.", json_schema_extra=OPTIMIZER
    )

    lr: float = Field(
        5e-4, gt=0, description="Learning rate of the backbone.", json_schema_extra=SCHEDULE
    )
    head_lr_mult: float = Field(
        5.0,
        gt=0,
        description="Learning rate of the pooling and the classifier, as a multiple of --lr.",
        json_schema_extra=SCHEDULE,
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Multiply the learning rate by this for each layer further down (timm models).",
        json_schema_extra=SCHEDULE,
    )
    sched: Literal["cosine", "step", "multistep", "poly", "constant"] = Field(
        "cosine",
        description="timm's schedule, advanced with every update.",
        json_schema_extra=SCHEDULE,
    )
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        description="Epochs of linear warm-up; default: a tenth of the epochs, at most one.",
        json_schema_extra=SCHEDULE,
    )
    warmup_lr: float = Field(
        1e-5, ge=0, description="Where the warm-up starts.", json_schema_extra=SCHEDULE
    )
    min_lr: float = Field(
        0.0, ge=0, description="Where cosine and poly end.", json_schema_extra=SCHEDULE
    )
    decay_epochs: float = Field(
        10.0, gt=0, description="step: epochs between two decays.", json_schema_extra=SCHEDULE
    )
    decay_milestones: tuple[int, ...] = Field(
        (), description="multistep: epochs after which to decay.", json_schema_extra=SCHEDULE
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
        description="Stop mixup and cutmix from this epoch on; 0: never.",
        json_schema_extra=REGULARIZATION,
    )
    model_ema: bool = Field(
        False,
        description="Keep a moving average of the weights; it is what is evaluated and exported.",
        json_schema_extra=REGULARIZATION,
    )
    model_ema_decay: float = Field(
        0.9998,
        gt=0,
        lt=1,
        description="Of the moving average, reached after a warm-up.",
        json_schema_extra=REGULARIZATION,
    )

    gc: bool = Field(
        False, description="Centralize the gradients of weights.", json_schema_extra=CENTRALIZATION
    )
    gc_conv_only: bool = Field(
        False, description="Of convolutions only.", json_schema_extra=CENTRALIZATION
    )
    gc_on: Literal["gradient", "update"] = Field(
        "gradient",
        description="gradient: before the optimizer; update: what it does, for adaptive ones.",
        json_schema_extra=CENTRALIZATION,
    )

    weight_projection: int | None = Field(
        None,
        ge=0,
        description="Bring the filters to --projection-norm after every so many updates; 0: "
        "never; default: as the model's file says.",
        json_schema_extra=FILTERS,
    )
    projection_norm: float | None = Field(
        None,
        gt=0,
        description="Norm that filters are projected to; default: as the model's file says.",
        json_schema_extra=FILTERS,
    )
    orthogonality: float | None = Field(
        None,
        ge=0,
        description="Weight of the orthogonality penalty in the loss; default: as the model's "
        "file says.",
        json_schema_extra=FILTERS,
    )

    weighted_gradients: bool | None = Field(
        None,
        description="Multiply the gradient of each filter by its norm; default: as the model's "
        "file says.",
        json_schema_extra=FILTERS,
    )

    freeze: tuple[str, ...] = Field(
        (),
        description="Do not train: 'backbone' (all but pooling and classifier) or names with "
        "wildcards, like 'layer1.*'; may be repeated. Batch norms in there keep their statistics.",
        json_schema_extra=PARTS,
    )
    freeze_epochs: int = Field(
        0, ge=0, description="Train the head alone for the first epochs.", json_schema_extra=PARTS
    )

    head_schedule: str | None = Field(
        None,
        description="Heads from epochs on, counted from 0, like isqrt@0,mpn:pade@30; the weights "
        "stay (hybrid training).",
        json_schema_extra=PARTS,
    )

    bn_stats: Literal["auto", "keep", "train"] = Field(
        "auto",
        description="Statistics of the backbone's batch norms: keep those that the weights were "
        "trained with, or train them; auto: train with --from-scratch, and where operators were "
        "put in without calibration.",
        json_schema_extra=PARTS,
    )

    workers: int = Field(
        4,
        ge=0,
        description="Processes that load images.",
        json_schema_extra={**SPEED, "short": "-j"},
    )
    device: str = Field(
        "auto", description="auto, cpu, cuda, cuda:1, mps.", json_schema_extra=SPEED
    )
    amp: bool = Field(False, description="Mixed precision.", json_schema_extra=SPEED)
    amp_dtype: Literal["float16", "bfloat16"] = Field(
        "float16", description="The lower precision of --amp.", json_schema_extra=SPEED
    )
    channels_last: bool = Field(
        False, description="Channels-last memory format.", json_schema_extra=SPEED
    )
    torchcompile: bool = Field(
        False, description="Compile the model with torch.compile.", json_schema_extra=SPEED
    )

    eval_metric: Literal["top1", "top5", "loss"] = Field(
        "top1", description="What the best epoch is best in.", json_schema_extra=WATCHING
    )
    checkpoint_hist: int = Field(
        1,
        ge=0,
        description="Keep the checkpoints of this many best epochs, beside the last and the best.",
        json_schema_extra=WATCHING,
    )

    @property
    def warmup(self) -> float:
        """Epochs of warm-up, the default worked out."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return min(WARMUP_AT_MOST, WARMUP_SHARE * self.epochs)

    def resolved(self) -> "TrainingSpec":
        """The same settings with the warm-up worked out."""
        return self.model_copy(update={"warmup_epochs": self.warmup})

    def with_statistics(self, automatic: Literal["keep", "train"]) -> "TrainingSpec":
        """The same settings with what is to be done about batch norms, where that is left open."""
        stats = automatic if self.bn_stats == "auto" else self.bn_stats
        return self.model_copy(update={"bn_stats": stats})

    def refuse_nonsense(self) -> None:
        """Check the settings against each other.

        Raises:
            ArgumentError: Two of them contradict each other, or one has no effect.
        """
        for wrong, message, hint in self._contradictions():
            if wrong:
                raise ArgumentError(message, hint=hint)

    def _contradictions(self) -> Iterator[tuple[bool, str, str]]:
        yield (
            self.warmup >= self.epochs,
            f"--warmup-epochs {self.warmup:g} leaves nothing of --epochs {self.epochs}.",
            "Warm up for fewer epochs.",
        )
        yield (
            max(self.warmup_lr if self.warmup else 0.0, self.min_lr) > self.lr,
            f"--lr {self.lr:g} is below --warmup-lr {self.warmup_lr:g} "
            f"or --min-lr {self.min_lr:g}.",
            "Lower those as well.",
        )
        yield (
            self.sched == "multistep" and not self.decay_milestones,
            "--sched multistep does not say after which epochs to decay.",
            "Add --decay-milestones 10 --decay-milestones 20.",
        )
        yield (
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
            bool(self.mixup or self.cutmix) and self.batch_size % 2 == 1,
            f"Mixup and cutmix mix pairs, and --batch-size {self.batch_size} is odd.",
            f"Use --batch-size {self.batch_size + 1}.",
        )
        yield (
            self.freeze_epochs > 0 and BACKBONE in self.freeze,
            "--freeze-epochs has no effect beside --freeze backbone.",
            "--freeze backbone lasts for the whole run, --freeze-epochs does not: choose one.",
        )
        yield (
            self.freeze_epochs >= self.epochs,
            f"--freeze-epochs {self.freeze_epochs} is all of --epochs {self.epochs}.",
            "Use --freeze backbone for a backbone that is never trained.",
        )
