"""Settings of a search for images, and of its evaluation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from covtool.atomic import require_feature_name, require_picture_name
from covtool.specs.byte_amounts import parse_bytes
from covtool.specs.record import CheckedRecord, Contradiction, as_flag

SEARCH: JsonDict = {"panel": "Search"}
FILES: JsonDict = {"panel": "Files of the search"}
# Zhong et al., CVPR 2017, for Market-1501; fast-reid has the same.
K1 = 20
K2 = 6
LAMBDA = 0.3


class FeatureSpec(CheckedRecord):
    """Choice of the features of an image."""

    feature: Literal["embedding", "pooled", "logits"] = Field(
        "embedding",
        description="Vector that describes an image: the classifier's input (the output of an "
        "Eigenlayer or a neck), the input of an Eigenlayer or a neck, or the model's output.",
        json_schema_extra=SEARCH,
    )
    flip_test: bool = Field(
        False,
        description="Describe an image by the mean of itself and its mirror image.",
        json_schema_extra=SEARCH,
    )


class SearchSpec(FeatureSpec):
    """An exact search for images of the same identity.

    Its features, their comparison, and which matches count.
    """

    metric: Literal["cosine", "euclidean"] = Field(
        "cosine", description="Distance between two images.", json_schema_extra=SEARCH
    )
    cameras: bool = Field(
        True,
        description="Leave out images that the query's own camera took, where cameras are known.",
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

    def chosen(self) -> tuple[str, ...]:
        """Return the options of what is not as the defaults have it."""
        values = self.model_dump()
        fields = type(self).model_fields.items()
        return tuple(as_flag(name) for name, info in fields if values[name] != info.default)

    @property
    def memory_bytes(self) -> int:
        """`max_memory` as a number."""
        return parse_bytes(self.max_memory)


class RetrievalSpec(SearchSpec):
    """A search that may be re-ranked, and files that go with it. None is not given."""

    rerank: bool = Field(
        False,
        description="Re-rank by k-reciprocal neighbors (Zhong et al., CVPR 2017).",
        json_schema_extra=SEARCH,
    )
    # None and not 20: a value without --rerank is then known to be the user's, and refused.
    k1: int | None = Field(
        None,
        ge=1,
        description=f"Neighbors that have to be mutual (--rerank); default: {K1}.",
        json_schema_extra=SEARCH,
    )
    k2: int | None = Field(
        None,
        ge=1,
        description=f"Neighbors that are averaged (--rerank); default: {K2}.",
        json_schema_extra=SEARCH,
    )
    lambda_: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Weight of the original distance against that of the neighbors (--rerank); "
        f"default: {LAMBDA}.",
        json_schema_extra={**SEARCH, "long": "lambda"},
    )

    save_ranks: Path | None = Field(
        None,
        description="PNG file to draw queries and their best matches into.",
        json_schema_extra={**FILES, "output": "picture"},
    )
    save_features: Path | None = Field(
        None,
        description="File to write the features to: .safetensors, .npz or .csv.",
        json_schema_extra={**FILES, "output": "features"},
    )
    distances_from: Path | None = Field(
        None,
        description="File of features to search with, in place of a model.",
        json_schema_extra=FILES,
    )

    @property
    def reciprocal_neighbors(self) -> int:
        """`k1`, the default filled in."""
        return K1 if self.k1 is None else self.k1

    @property
    def averaged_neighbors(self) -> int:
        """`k2`, the default filled in."""
        return K2 if self.k2 is None else self.k2

    @property
    def distance_weight(self) -> float:
        """`lambda_`, the default filled in."""
        return LAMBDA if self.lambda_ is None else self.lambda_

    @property
    def reranking(self) -> str:
        """The settings of the re-ranking in words, the defaults filled in; "" without one."""
        if not self.rerank:
            return ""
        k1, k2 = self.reciprocal_neighbors, self.averaged_neighbors
        return f"k1 {k1}, k2 {k2}, lambda {self.distance_weight:g}"

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield settings of a re-ranking that there is none of, or of a model that is not run."""
        for name in ("k1", "k2", "lambda_"):
            yield (
                not self.rerank and getattr(self, name) is not None,
                f"{as_flag(name.rstrip('_'))} has no effect without --rerank.",
                "Add --rerank, or leave it out.",
            )
        yield (
            self.rerank and self.averaged_neighbors > self.reciprocal_neighbors,
            f"--k2 {self.averaged_neighbors} is larger than --k1 {self.reciprocal_neighbors}.",
            "Average fewer neighbors than have to be mutual, as in --k1 20 --k2 6.",
        )
        for name in ("feature", "flip_test", "save_features"):
            default = type(self).model_fields[name].default
            yield (
                self.distances_from is not None and getattr(self, name) != default,
                f"{as_flag(name)} has no effect with --distances-from: no model is run.",
                "Leave one of them out.",
            )

    def validate_fields(self) -> None:
        """Check the fields against each other, and the names of files to write.

        Raises:
            ArgumentError: Two fields contradict each other, one has no effect, or a name is not
                one of its format.
        """
        super().validate_fields()
        if self.save_ranks is not None:
            require_picture_name(self.save_ranks)
        if self.save_features is not None:
            require_feature_name(self.save_features)
