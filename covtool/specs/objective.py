"""The loss that is minimized, and the sampling of batches."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.faults import FaultSpec
from covtool.specs.losses import LOSSES, LossTerm, parse_loss
from covtool.specs.record import Contradiction, Record, as_flag, refuse_contradictions
from covtool.specs.training import TrainingSpec

PANEL: JsonDict = {"panel": "Loss and sampling"}

CIRCLE_MARGIN, CIRCLE_SCALE = 0.25, 128.0  # of Sun et al. for re-identification
NUM_INSTANCES = 4  # of Hermans et al.
DEFAULT_SMOOTHING = TrainingSpec.model_fields["smoothing"].default


class ObjectiveSpec(Record):
    """The loss, as a sum of named terms, and the order of the training images."""

    loss: str = Field(
        "ce",
        description="Loss: ce, bce, triplet, circle, or a sum with weights, like ce+0.5*triplet.",
        json_schema_extra=PANEL,
    )
    triplet_margin: float | None = Field(
        None,
        ge=0,
        description="Margin of the triplet loss; default: the soft margin.",
        json_schema_extra=PANEL,
    )
    circle_margin: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Relaxation of the circle loss.",
        json_schema_extra={**PANEL, "default": f"{CIRCLE_MARGIN:g}"},
    )
    circle_scale: float | None = Field(
        None,
        gt=0,
        description="Scale of the circle loss.",
        json_schema_extra={**PANEL, "default": f"{CIRCLE_SCALE:g}"},
    )
    sampler: Literal["random", "balanced", "pk"] = Field(
        "random",
        description="Order of the training images: random, every image once per epoch; balanced, "
        "every class equally often; pk, batches of classes with --num-instances images each.",
        json_schema_extra=PANEL,
    )
    num_instances: int | None = Field(
        None,
        ge=2,
        description="Images of a class in a batch (pk).",
        json_schema_extra={**PANEL, "default": f"{NUM_INSTANCES}"},
    )

    @property
    def terms(self) -> tuple[LossTerm, ...]:
        """Terms of the loss.

        Raises:
            ArgumentError: See `parse_loss`.
        """
        return parse_loss(self.loss)

    @property
    def instances(self) -> int:
        """Images of a class in a batch of ``pk``, with the default."""
        return NUM_INSTANCES if self.num_instances is None else self.num_instances

    @property
    def margin(self) -> float:
        """Margin of the circle loss, with the default."""
        return CIRCLE_MARGIN if self.circle_margin is None else self.circle_margin

    @property
    def scale(self) -> float:
        """Scale of the circle loss, with the default."""
        return CIRCLE_SCALE if self.circle_scale is None else self.circle_scale

    def needs(self, what: Literal["logits", "embeddings"]) -> bool:
        """Return whether a term of the loss is a function of the logits, or of the embeddings."""
        return any(LOSSES[term.name].needs == what for term in self.terms)

    def validate_fields(self, training: TrainingSpec, faults: FaultSpec) -> None:
        """Check the settings against each other and against others of the run.

        Raises:
            ArgumentError: Two of them contradict each other, or one has no effect.
            UnknownVariantError: There is no such loss.
        """
        refuse_contradictions(self._ineffective())
        refuse_contradictions(self._contradictions(training, faults))

    def _ineffective(self) -> Iterator[Contradiction]:
        names = {term.name for term in self.terms}
        for option, loss in (
            ("triplet_margin", "triplet"),
            ("circle_margin", "circle"),
            ("circle_scale", "circle"),
        ):
            yield (
                getattr(self, option) is not None and loss not in names,
                f"{as_flag(option)} has no effect on --loss {self.loss}.",
                f"Add the term, as in --loss ce+{loss}, or leave the option out.",
            )
        yield (
            self.num_instances is not None and self.sampler != "pk",
            f"--num-instances has no effect with --sampler {self.sampler}.",
            "Add --sampler pk, or leave it out.",
        )

    def _contradictions(self, training: TrainingSpec, faults: FaultSpec) -> Iterator[Contradiction]:
        size, smoothing = training.batch_size, training.smoothing
        # Two classes at least: with one there is no negative.
        fitting = max(2, size // self.instances) * self.instances
        yield (
            self.sampler == "pk" and size % self.instances > 0,
            f"--batch-size {size} is not a multiple of the {self.instances} images of a class that "
            "--sampler pk puts into a batch (--num-instances).",
            f"Use --batch-size {fitting}.",
        )
        yield (
            # A mixed image belongs to two classes: it is a positive of neither.
            self.needs("embeddings") and bool(training.mixup or training.cutmix),
            f"--loss {self.loss} compares images of one class with those of others; mixup and "
            "cutmix leave none of one class.",
            "Leave out --mixup and --cutmix, or use ce or bce alone.",
        )
        yield (
            self.needs("embeddings") and faults.auto_batch,
            f"--loss {self.loss} compares the images of a batch; --auto-batch would compare those "
            "of a part of it alone.",
            "Leave out --auto-batch, and choose a --batch-size that fits.",
        )
        yield (
            # The default of --smoothing is not the user's wish: only another value is refused.
            not self.needs("logits") and smoothing not in (0.0, DEFAULT_SMOOTHING),
            f"--smoothing {smoothing:g} has no effect on --loss {self.loss}.",
            "It is for ce and bce: leave it out.",
        )
