"""Restraint and relaxation iterations (RRI) of SVDNet."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from covtool.specs.record import CheckedRecord, Contradiction, refuse_contradictions
from covtool.specs.training import WATCHING, TrainingSpec

BASE_EPOCHS = 20  # of step 0, for a model that was not trained yet
PANEL: JsonDict = {"panel": "SVDNet"}


class SvdnetSpec(CheckedRecord):
    """The phases of an SVDNet's training: step 0, then restraint and relaxation in turns.

    The learning rates are the paper's: 1e-3 three times, then 1e-4; its phases have 8,000 steps.

    Source:
        Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, algorithm 1.
    """

    rri: int = Field(
        7,
        ge=0,
        description="Largest number of restraint and relaxation iterations; 0: step 0 only.",
        json_schema_extra=PANEL,
    )
    base_epochs: int | None = Field(
        None,
        ge=0,
        description="Epochs of step 0, with the plain linear layer; default: "
        f"{BASE_EPOCHS}, or none for a model that was trained since it got its Eigenlayer.",
        json_schema_extra=PANEL,
    )
    restraint_epochs: int = Field(
        10, ge=1, description="Epochs with the Eigenlayer frozen.", json_schema_extra=PANEL
    )
    relaxation_epochs: int = Field(
        10, ge=1, description="Epochs with everything trained.", json_schema_extra=PANEL
    )
    lrs: tuple[float, ...] = Field(
        (1e-3, 1e-3, 1e-3, 1e-4),
        description="Learning rate of an iteration; repeated for the first, the second, and so "
        "on, the last one for all that follow. Step 0 has --lr.",
        json_schema_extra=PANEL,
    )
    stop_delta: float = Field(
        0.005,
        ge=0,
        description="Change of S(W) after relaxation, from one iteration to the next, below which "
        "the run stops.",
        json_schema_extra=PANEL,
    )
    decomposition: Literal["us", "u", "uv", "qr"] = Field(
        "us",
        description="Matrix that replaces W: US keeps the distances, the others are the paper's "
        "ablation.",
        json_schema_extra=PANEL,
    )
    reorder: bool = Field(
        True,
        description="Bring the new weight vectors into the order and the sign of the old ones.",
        json_schema_extra=PANEL,
    )
    assignment: Literal["greedy", "optimal"] = Field(
        "greedy",
        description="Matching of new and old vectors by --reorder: one old vector after the "
        "other, as published, or the best assignment (needs scipy).",
        json_schema_extra=PANEL,
    )
    classifier: Literal["fold", "keep", "reset"] = Field(
        "fold",
        description="Classifier at a decorrelation: fold turns it with the Eigenlayer, which "
        "keeps every logit; keep leaves it; reset starts a new one.",
        json_schema_extra=PANEL,
    )

    @field_validator("lrs")
    @classmethod
    def _are_rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not rates or min(rates) <= 0:
            raise ValueError("learning rates are positive numbers")
        return rates

    def with_base_epochs(self, automatic: int) -> "SvdnetSpec":
        """Return the same settings with the length of step 0, where that is left open."""
        base = automatic if self.base_epochs is None else self.base_epochs
        return self.model_copy(update={"base_epochs": base})

    @property
    def first_phase(self) -> int:
        """Epochs of the first phase that there is, with the default of step 0."""
        return self._base_epochs or self.restraint_epochs

    @property
    def lengths(self) -> tuple[int, ...]:
        """Epochs of the kinds of phases that there are."""
        turns = (self.restraint_epochs, self.relaxation_epochs) if self.rri else ()
        return (self._base_epochs, *turns)

    @property
    def epochs(self) -> int:
        """Epochs of all phases, with the default of step 0."""
        return self._base_epochs + self.rri * (self.restraint_epochs + self.relaxation_epochs)

    @property
    def _base_epochs(self) -> int:
        return BASE_EPOCHS if self.base_epochs is None else self.base_epochs

    def unpublished(self) -> tuple[tuple[str, str], ...]:
        """Return names and values of what the iterations do otherwise than published."""
        names = ("decomposition", "reorder", "assignment", "classifier")
        values = [(name, getattr(self, name)) for name in names]
        fields = type(self).model_fields
        return tuple((n, str(value)) for n, value in values if value != fields[n].default)

    def lr_of(self, iteration: int) -> float:
        """Return the learning rate of an iteration, counted from 1."""
        # The last rate holds for all that follow.
        return self.lrs[min(iteration, len(self.lrs)) - 1]

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield settings without an effect."""
        yield (
            self.assignment == "optimal" and not self.reorder,
            "--assignment optimal has no effect with --no-reorder.",
            "Leave one of them out.",
        )
        yield (
            self.rri == 0 and self.base_epochs == 0,
            "--rri 0 with --base-epochs 0 trains nothing.",
            "Raise one of them.",
        )


class SvdnetTrainingSpec(TrainingSpec):
    """Training in phases, whose number and length are those of an `SvdnetSpec`.

    `epochs` is the sum of all phases. A search takes the place of a validation: there is nothing
    to set aside for it, and what ends a run before its time is that S(W) has settled.
    """

    epochs: int = Field(1, ge=1, json_schema_extra={"flag": False})
    patience: Literal[0] = Field(0, json_schema_extra={"flag": False})
    val_fraction: None = Field(None, json_schema_extra={"flag": False})
    keep_neighbors: Literal[False] = Field(False, json_schema_extra={"flag": False})
    # The phases are judged by a search, which has other metrics than a validation.
    eval_metric: Literal["rank1", "mAP"] = Field(
        "rank1",
        description="Metric that selects the best phase: rank-1 (which is Recall@1) or mAP.",
        json_schema_extra=WATCHING,
    )

    def in_phases(self, svdnet: SvdnetSpec) -> "SvdnetTrainingSpec":
        """Return the same settings with the epochs of all phases and the first one's warm-up."""
        warmup = self.warmup_epochs
        if warmup is None:
            # A tenth of the first phase, not of all: only that one is warmed up.
            alone = self.model_copy(update={"epochs": svdnet.first_phase})
            warmup = alone.warmup
        return self.model_copy(update={"epochs": svdnet.epochs, "warmup_epochs": warmup})

    def validate_phases(self, svdnet: SvdnetSpec) -> None:
        """Check the settings against each other and against those of the phases.

        Raises:
            ArgumentError: Two of them contradict each other, or one has no effect.
        """
        svdnet.validate_fields()
        # The sum of the phases is what other settings are compared with.
        whole = self.in_phases(svdnet)
        refuse_contradictions(whole._contradictions_in(svdnet))
        whole.validate_fields()

    def _contradictions_in(self, svdnet: SvdnetSpec) -> Iterator[Contradiction]:
        first, lowest = svdnet.first_phase, min(svdnet.lrs)
        longest = max(svdnet.lengths)
        yield (
            self.sched == "multistep" and max(self.decay_milestones, default=0) >= longest,
            f"--decay-milestones has {max(self.decay_milestones, default=0)}, but the longest "
            f"phase has {longest} epochs: each has a schedule of its own.",
            "Decay earlier, or lengthen the phases.",
        )
        yield (
            self.warmup >= first,
            f"--warmup-epochs {self.warmup:g} leaves nothing of the first phase's {first} epochs.",
            "Warm up for fewer epochs.",
        )
        yield (
            svdnet.rri > 0 and self.min_lr > lowest,
            f"--lrs has {lowest:g}, which is below --min-lr {self.min_lr:g}.",
            "Lower --min-lr as well.",
        )
        yield (
            bool(self.warmup) and svdnet.base_epochs == 0 and self.warmup_lr > svdnet.lr_of(1),
            f"--lrs begins with {svdnet.lr_of(1):g}, which is below --warmup-lr "
            f"{self.warmup_lr:g}.",
            "Lower --warmup-lr as well, or leave the warm-up out: --warmup-epochs 0.",
        )
