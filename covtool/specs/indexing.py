"""Settings of an index of images, and of a search in one."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from covtool.specs.byte_amounts import parse_bytes
from covtool.specs.record import CheckedRecord, Contradiction
from covtool.specs.retrieval import SEARCH, FeatureSpec

THRESHOLD: JsonDict = {"panel": "Not in the gallery"}
FALSE_ACCEPT_RATE = 0.01
MOST_HITS = 10_000
"""Images that are returned for a query."""

NO_THRESHOLD = "none"


class IndexSpec(FeatureSpec):
    """What an index holds beside the images: features, their comparison, a threshold."""

    metric: Literal["cosine", "euclidean"] = Field(
        "cosine", description="Distance between two images.", json_schema_extra=SEARCH
    )
    threshold: Literal["auto"] | None = Field(
        None,
        description="Choose the distance beyond which an image is no match, on pairs of images "
        "whose identities are known.",
        json_schema_extra=THRESHOLD,
    )
    # None and not the default: a rate without a threshold is then known to be the user's.
    false_accept_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of pairs of two identities that may pass for a match (--threshold "
        f"auto); default: {FALSE_ACCEPT_RATE}.",
        json_schema_extra=THRESHOLD,
    )
    threshold_data: Path | None = Field(
        None,
        description="Images of other identities to choose the threshold on; default: the "
        "gallery's own.",
        json_schema_extra=THRESHOLD,
    )
    faiss: bool = Field(
        False,
        description="Keep an inverted file beside the index, for searches in more than memory "
        "holds (covtool[faiss]).",
        json_schema_extra=SEARCH,
    )

    @property
    def allowed_rate(self) -> float:
        """`false_accept_rate`, the default filled in."""
        return FALSE_ACCEPT_RATE if self.false_accept_rate is None else self.false_accept_rate

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield settings of a threshold that is not chosen."""
        for flag, value in (
            ("--false-accept-rate", self.false_accept_rate),
            ("--threshold-data", self.threshold_data),
        ):
            yield (
                self.threshold is None and value is not None,
                f"{flag} has no effect without --threshold auto.",
                "Add --threshold auto, or leave it out.",
            )


class GallerySearchSpec(CheckedRecord):
    """A search in an index: how many images, which of them count, and how they are found."""

    k: int = Field(
        10,
        ge=1,
        le=MOST_HITS,
        description="Images to find for each query.",
        json_schema_extra={**SEARCH, "short": "-k"},
    )
    rerank: bool = Field(
        False,
        description="Re-rank by k-reciprocal neighbors (Zhong et al., CVPR 2017), among gallery "
        "and queries.",
        json_schema_extra=SEARCH,
    )
    cameras: bool = Field(
        False,
        description="Leave out all images that the query's own camera took.",
        json_schema_extra=SEARCH,
    )
    exclude_same: bool = Field(
        False,
        description="Leave out the query itself, where it is an image of the gallery.",
        json_schema_extra=SEARCH,
    )
    threshold: str | None = Field(
        None,
        description="Distance beyond which an image is no match; none for no such distance; "
        "default: the index's.",
        json_schema_extra=SEARCH,
    )
    backend: Literal["exact", "faiss"] = Field(
        "exact",
        description="Compare with every image, or look into a part of an inverted file.",
        json_schema_extra=SEARCH,
    )
    max_memory: str = Field(
        "4GB",
        description="Largest memory of the search beside the features: 800MB, 4GB, 16GiB.",
        json_schema_extra=SEARCH,
    )

    @field_validator("max_memory")
    @classmethod
    def _is_an_amount(cls, text: str) -> str:
        parse_bytes(text)
        return text

    @field_validator("threshold")
    @classmethod
    def _is_a_distance(cls, text: str | None) -> str | None:
        if text in (None, NO_THRESHOLD):
            return text
        try:
            is_distance = isfinite(float(text)) and float(text) >= 0
        except ValueError:
            is_distance = False
        if not is_distance:
            raise ValueError(
                "it should be a distance, 0 or more, or none "
                "(covtool index INDEX --threshold auto chooses one)"
            )
        return text

    def threshold_over(self, kept: float | None) -> float | None:
        """Return the distance beyond which nothing matches; None for no such distance.

        Args:
            kept: Distance that the index keeps.
        """
        if self.threshold is None:
            return kept
        return None if self.threshold == NO_THRESHOLD else float(self.threshold)

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield settings that an inverted file cannot follow."""
        yield (
            self.rerank and self.backend == "faiss",
            "--rerank needs the neighbors of every image, which an inverted file does not give.",
            "Leave out --rerank, or search with --backend exact.",
        )
