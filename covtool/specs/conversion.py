"""Options of `covtool convert`, beside those of the head."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

SURGERY: JsonDict = {"panel": "Surgery"}
CALIBRATION: JsonDict = {"panel": "Calibration"}


class ConvertSpec(Record):
    """How a conversion is done."""

    num_classes: int | None = Field(
        None,
        ge=1,
        description="Number of outputs of the new classifier; default: the data's classes, or as "
        "many as before.",
        json_schema_extra=SURGERY,
    )
    last_stride: Literal[1] | None = Field(
        None,
        description="Stride of the last downsampling: 1 leaves 14x14 positions in place of 7x7.",
        json_schema_extra=SURGERY,
    )
    eigenlayer: int | None = Field(
        None,
        ge=1,
        description="Outputs of an Eigenlayer, a linear layer without bias in front of the "
        "classifier (SVDNet); the head stays unless --head is given.",
        json_schema_extra=SURGERY,
    )
    eigenlayer_init: Literal["keep", "random"] = Field(
        "keep",
        description="Initial weights of the Eigenlayer: keep takes the classifier's own "
        "directions, which keeps the logits as far as possible; random, as published.",
        json_schema_extra=SURGERY,
    )
    seed: int = Field(
        0,
        ge=0,
        description="Random seed of layers that start at random.",
        json_schema_extra=SURGERY,
    )
    # A ridge regression needs three rows: see `covtool.ops.ridge`.
    calibrate_images: int | None = Field(
        None,
        ge=3,
        description="Largest number of calibration images, drawn evenly from the classes; default: "
        "all for a head, 64 for --conv.",
        json_schema_extra=CALIBRATION,
    )
    calibrate_memory: float = Field(
        4.0,
        gt=0,
        description="Largest memory of the head's solver, and of the feature maps of --conv, in "
        "GiB.",
        json_schema_extra=CALIBRATION,
    )
    keep_neighbors: bool = Field(
        False,
        description="Keep the calibration images' embeddings in the file, compressed: predictions "
        "say how far an image is from them.",
        json_schema_extra=CALIBRATION,
    )
    radius_quantile: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Share of the patches whose norm lies within ρ (--conv): more is closer to the "
        "convolution, less lets the bound bite.",
        json_schema_extra=CALIBRATION,
    )
