"""Settings of a training run, in timm's words."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.freezing import BACKBONE, FreezeRule, parse_freeze
from covtool.specs.optimization import (
    RUN,
    SOLVED_HEAD_LR_MULT,
    SOLVED_LR,
    USUAL_HEAD_LR_MULT,
    USUAL_LR,
    OptimizationSpec,
)
from covtool.specs.record import Contradiction

FILTERS: JsonDict = {"panel": "Decoupled convolutions"}
PARTS: JsonDict = {"panel": "What is trained"}
SPEED: JsonDict = {"panel": "Speed and device"}
WATCHING: JsonDict = {"panel": "Watching and keeping"}

CompileMode = Literal[
    "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
]  # torch's words
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes that record what a device does, and play it again."""


class TrainingSpec(OptimizationSpec):
    """Every setting of a training run but objective, augmentation, loading and processes.

    The batch norms of a pretrained backbone keep their statistics: those of small batches of few
    classes are others, and a head that was calibrated on the kept ones would lose most of what it
    knows in the first steps.
    """

    seed: int = Field(42, ge=0, description="Random seed.", json_schema_extra=RUN)
    # None where the data has a validation split of its own; the choice is kept with the run.
    val_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of each class to set aside for validation, where the data has no "
        "validation images.",
        json_schema_extra=RUN,
    )
    on_bad_image: Literal["error", "skip"] = Field(
        "error",
        description="Images that cannot be read: end with an error, or skip them.",
        json_schema_extra=RUN,
    )

    # None and not the operators' own defaults: a file says itself what its operators need.
    weight_projection: int | None = Field(
        None,
        ge=0,
        description="Updates after which the filters are brought back to --projection-norm; 0: "
        "never; default: as the model's file has it.",
        json_schema_extra=FILTERS,
    )
    projection_norm: float | None = Field(
        None,
        gt=0,
        description="Norm that filters are projected to; default: as the model's file has it.",
        json_schema_extra=FILTERS,
    )
    orthogonality: float | None = Field(
        None,
        ge=0,
        description="Weight of the orthogonality penalty in the loss; default: as the model's "
        "file has it.",
        json_schema_extra=FILTERS,
    )
    weighted_gradients: bool | None = Field(
        None,
        description="Multiply the gradient of each filter by its norm; default: as the model's "
        "file has it.",
        json_schema_extra=FILTERS,
    )

    freeze: tuple[str, ...] = Field(
        (),
        description="Parts that are not trained: 'backbone' (all but pooling and classifier) or "
        "names with wildcards, like 'layer1.*'; may be repeated. With @EPOCHS, as in "
        "'layer1.*@5', for the first epochs only. Their batch norms keep their statistics "
        "meanwhile.",
        json_schema_extra=PARTS,
    )
    freeze_epochs: int = Field(
        0,
        ge=0,
        description="Number of epochs at the start that train only the head: short for --freeze "
        "backbone@N.",
        json_schema_extra=PARTS,
    )
    # Text, as on the command line and in args.yaml; `parse_head_schedule` makes records of it.
    head_schedule: str | None = Field(
        None,
        description="Heads with the epochs they start at, counted from 0, like "
        "isqrt@0,mpn:pade@30; the weights stay (hybrid training).",
        json_schema_extra=PARTS,
    )
    # `auto` is resolved once, by the history of the model, and written as what it came to: a
    # resumed run decides nothing anew.
    resolve_head: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Solve the classifier anew by ridge regression before each evaluation, and "
        "export it in place of the trained one; auto: for a calibrated head that was not trained "
        "yet.",
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
        "auto",
        description="Device to compute on: auto, cpu, cuda, cuda:1, mps.",
        json_schema_extra=SPEED,
    )
    amp: bool = Field(False, description="Train in mixed precision.", json_schema_extra=SPEED)
    # As in timm. bfloat16 needs no scaling of the loss, and older cards do not have it.
    amp_dtype: Literal["float16", "bfloat16"] = Field(
        "float16", description="Lower precision of --amp.", json_schema_extra=SPEED
    )
    tf32: bool | None = Field(
        None,
        description="Use TF32 for float32 products on CUDA, covariance heads included: faster and "
        "less precise; default: torch's, convolutions only.",
        json_schema_extra=SPEED,
    )
    grad_checkpointing: bool = Field(
        False,
        description="Compute activations twice instead of keeping them, for less memory (timm "
        "models).",
        json_schema_extra=SPEED,
    )
    channels_last: bool = Field(
        False, description="Use the channels-last memory format.", json_schema_extra=SPEED
    )
    torchcompile: bool = Field(
        False, description="Compile the model with torch.compile.", json_schema_extra=SPEED
    )
    torchcompile_mode: CompileMode | None = Field(
        None,
        description="Mode of --torchcompile; reduce-overhead records CUDA graphs, for batches of "
        "one size; default: torch's.",
        json_schema_extra=SPEED,
    )

    keep_neighbors: bool = Field(
        False,
        description="Keep the training images' embeddings in the exported files, compressed: "
        "predictions say how far an image is from them.",
        json_schema_extra=WATCHING,
    )
    eval_metric: Literal["top1", "top5", "loss", "rank1", "mAP"] = Field(
        "top1",
        description="Metric that selects the best epoch; rank1 (for top1) and mAP are those of a "
        "search, which judges a fold of identities.",
        json_schema_extra=WATCHING,
    )
    patience: int = Field(
        0,
        ge=0,
        description="Epochs in a row without a better --eval-metric after which the run ends; 0: "
        "never.",
        json_schema_extra=WATCHING,
    )
    tensorboard: bool = Field(
        False,
        description="Write curves for TensorBoard into the run's folder as well; needs "
        "covtool[tensorboard].",
        json_schema_extra=WATCHING,
    )
    log: tuple[str, ...] = Field(
        (),
        description="Tracker that gets the curves as well: wandb or mlflow, which need "
        "covtool[wandb] or covtool[mlflow]; may be repeated.",
        json_schema_extra=WATCHING,
    )
    checkpoint_hist: int = Field(
        1,
        ge=0,
        description="Number of best epochs whose checkpoints are kept, beside the last and the "
        "best.",
        json_schema_extra=WATCHING,
    )

    @property
    def freeze_rules(self) -> tuple[FreezeRule, ...]:
        """What is not trained for how long.

        Raises:
            ArgumentError: One is not written as a rule.
        """
        short = [f"{BACKBONE}@{self.freeze_epochs}"] if self.freeze_epochs else []
        return tuple(map(parse_freeze, [*self.freeze, *short]))

    def resolved(self) -> "TrainingSpec":
        """Return the same settings with the warm-up worked out."""
        return self.model_copy(update={"warmup_epochs": self.warmup})

    def with_statistics(self, automatic: Literal["keep", "train"]) -> "TrainingSpec":
        """Return the same settings with the choice about batch norms, where it is left open."""
        stats = automatic if self.bn_stats == "auto" else self.bn_stats
        return self.model_copy(update={"bn_stats": stats})

    def with_resolved_head(self, automatic: Literal["on", "off"]) -> "TrainingSpec":
        """Return the same settings with the choice about the classifier, where it is left open."""
        solved = automatic if self.resolve_head == "auto" else self.resolve_head
        return self.model_copy(update={"resolve_head": solved})

    @property
    def peak_lr(self) -> float:
        """Learning rate of the backbone, the default worked out; not where it is yet to be found.

        The features below a classifier that is solved anew are trained for what it makes of them:
        they bear, and need, more than those below one that is trained.
        """
        if isinstance(self.lr, str):
            raise ValueError("The learning rate is yet to be found.")
        usual = SOLVED_LR if self.resolve_head == "on" else USUAL_LR
        return usual if self.lr is None else self.lr

    @property
    def head_multiplier(self) -> float:
        """Multiple of that rate for pooling and classifier, the default worked out."""
        usual = SOLVED_HEAD_LR_MULT if self.resolve_head == "on" else USUAL_HEAD_LR_MULT
        return usual if self.head_lr_mult is None else self.head_lr_mult

    def with_rates(self) -> "TrainingSpec":
        """Return the same settings with the learning rates, where they are left open."""
        found: dict[str, Any] = {"head_lr_mult": self.head_multiplier}
        if self.lr is None:
            found["lr"] = self.peak_lr
        return self.model_copy(update=found)

    def contradictions(self) -> Iterator[Contradiction]:
        # Those of the optimization first: they are about the settings that people set most.
        yield from super().contradictions()
        yield from self._contradictions_of_freezing()
        yield (
            self.torchcompile_mode is not None and not self.torchcompile,
            "--torchcompile-mode has no effect without --torchcompile.",
            "Add --torchcompile, or leave the mode out.",
        )
        yield (
            self.torchcompile_mode in CUDA_GRAPHS and self.grad_checkpointing,
            f"--torchcompile-mode {self.torchcompile_mode} does not go with --grad-checkpointing.",
            "A recorded graph keeps the memory that checkpointing would free: choose one.",
        )

    def _contradictions_of_freezing(self) -> Iterator[Contradiction]:
        rules = self.freeze_rules
        yield (
            self.freeze_epochs > 0 and BACKBONE in self.freeze,
            "--freeze-epochs has no effect beside --freeze backbone.",
            "--freeze backbone lasts for the whole run, --freeze-epochs does not: choose one.",
        )
        # Two rules for one pattern would leave open for how long it is frozen.
        for pattern, count in Counter(rule.pattern for rule in rules).items():
            yield (
                count > 1,
                f"--freeze has {pattern!r} {count} times.",
                "Say once for how long; --freeze-epochs N is --freeze backbone@N.",
            )
        for rule in rules:
            yield (
                (rule.epochs or 0) >= self.epochs,
                f"--freeze {rule} is all of --epochs {self.epochs}.",
                f"Use --freeze {rule.pattern} for what is never trained.",
            )
