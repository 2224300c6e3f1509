"""Augmentation of training images, in timm's words."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

PANEL: JsonDict = {"panel": "Augmentation"}


class AugmentationSpec(Record):
    """timm's random transforms of a training image, for `covtool.data.transforms.from_timm`.

    The crops are less extreme than timm's for training from scratch (a share of 0.08 upwards):
    a pretrained network that sees each image a few times only should see most of it.
    """

    aug: bool = Field(
        True,
        description="Augment the training images; with --no-aug they are prepared as for "
        "evaluation.",
        json_schema_extra=PANEL,
    )
    scale: tuple[float, float] = Field(
        (0.35, 1.0),
        description="Least and largest share of the image's area that a random crop keeps.",
        json_schema_extra=PANEL,
    )
    ratio: tuple[float, float] = Field(
        (3 / 4, 4 / 3),
        description="Least and largest aspect ratio of a random crop.",
        json_schema_extra=PANEL,
    )
    hflip: float = Field(
        0.5, ge=0, le=1, description="Probability of a left-right flip.", json_schema_extra=PANEL
    )
    vflip: float = Field(
        0.0, ge=0, le=1, description="Probability of an up-down flip.", json_schema_extra=PANEL
    )
    color_jitter: float = Field(
        0.4,
        ge=0,
        description="Strength of random brightness, contrast and saturation; none with --aa.",
        json_schema_extra=PANEL,
    )
    aa: str | None = Field(
        None,
        description="Augmentation policy: timm's, for example rand-m9-mstd0.5-inc1 or original, "
        "or trivial for TrivialAugment.",
        json_schema_extra=PANEL,
    )
    reprob: float = Field(
        0.0, ge=0, le=1, description="Probability of random erasing.", json_schema_extra=PANEL
    )
    remode: Literal["const", "rand", "pixel"] = Field(
        "pixel", description="Fill of random erasing.", json_schema_extra=PANEL
    )
    # timm's default: the network sees both filters, and does not learn one of them.
    train_interpolation: Literal["random", "nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "random",
        description="Resampling filter of the random crops; random: bilinear or bicubic.",
        json_schema_extra=PANEL,
    )
