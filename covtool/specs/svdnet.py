"""Restraint and relaxation iterations (RRI) of SVDNet."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator

from covtool.specs.record import CheckedRecord, Contradiction

PANEL: dict[str, Any] = {"panel": "SVDNet"}


class SvdnetSpec(CheckedRecord):
    """The phases of an SVDNet's training: step 0, then restraint and relaxation in turns.

    The learning rates are the paper's: 1e-3 three times, then 1e-4; its phases have 8,000 steps.

    Source:
        Sun, Zheng, Deng, Wang. "SVDNet for Pedestrian Retrieval", ICCV 2017, algorithm 1.
    """

    rri: int = Field(
        7,
        ge=0,
        description="Restraint and relaxation iterations, at most; 0: step 0 only.",
        json_schema_extra=PANEL,
    )
    base_epochs: int | None = Field(
        None,
        ge=0,
        description="Epochs of step 0, with the plain linear layer; default: 20, or none for a "
        "model that finetune or svdnet-rri has trained.",
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
        description="Learning rate of each iteration; the last one holds for all that follow. "
        "Step 0 has --lr.",
        json_schema_extra=PANEL,
    )
    stop_delta: float = Field(
        0.005,
        ge=0,
        description="Stop when S(W) after relaxation changes by less than this from one iteration "
        "to the next.",
        json_schema_extra=PANEL,
    )
    decomposition: Literal["us", "u", "uv", "qr"] = Field(
        "us",
        description="What takes the place of W: US keeps the distances, the others are the "
        "paper's ablation.",
        json_schema_extra=PANEL,
    )
    reorder: bool = Field(
        True,
        description="Bring the new weight vectors into the order and the sign of the old ones.",
        json_schema_extra=PANEL,
    )
    assignment: Literal["greedy", "optimal"] = Field(
        "greedy",
        description="--reorder: one old vector after the other, as published, or the best "
        "assignment (needs scipy).",
        json_schema_extra=PANEL,
    )
    classifier: Literal["fold", "keep", "reset"] = Field(
        "fold",
        description="The classifier at a decorrelation: fold turns it with the Eigenlayer, which "
        "keeps every logit; keep leaves it; reset starts it afresh.",
        json_schema_extra=PANEL,
    )

    @field_validator("lrs")
    @classmethod
    def _are_rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not rates or min(rates) <= 0:
            raise ValueError("learning rates are positive numbers")
        return rates

    def lr_of(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 1."""
        return self.lrs[min(iteration, len(self.lrs)) - 1]

    def contradictions(self) -> Iterator[Contradiction]:
        """Settings without an effect."""
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
