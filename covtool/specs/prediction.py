"""Settings of predictions: what is kept of a model's answers, and from which views they come."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import CheckedRecord, Contradiction

ANSWERS: JsonDict = {"panel": "Answers"}

MOST_TOP_K = 1_000
"""Classes of an image that a file has columns for."""


class PredictionSpec(CheckedRecord):
    """Choice of the answers for an image."""

    top_k: int = Field(
        5,
        ge=1,
        le=MOST_TOP_K,
        description="Classes per image, the most probable first; all if there are fewer.",
        json_schema_extra=ANSWERS,
    )
    threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Leave a class empty whose probability is below this.",
        json_schema_extra=ANSWERS,
    )
    max_distance: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Leave all classes empty of an image that is farther from the training "
        "embeddings than this: it is of none of them. The file must keep embeddings.",
        json_schema_extra=ANSWERS,
    )
    margin: bool = Field(
        False,
        description="Add the difference of the two highest probabilities.",
        json_schema_extra=ANSWERS,
    )
    logits: bool = Field(
        False, description="Add the logits of all classes.", json_schema_extra=ANSWERS
    )
    tta: Literal["flip", "crops"] | None = Field(
        None,
        description="Average the probabilities of several views: the image and its mirror image, "
        "or its four corners and its center.",
        json_schema_extra=ANSWERS,
    )

    def contradictions(self) -> Iterator[Contradiction]:
        yield (
            self.logits and self.tta is not None,
            f"--tta {self.tta} averages probabilities: there are no logits of the average.",
            "Leave out --logits, or --tta.",
        )
