"""What a model is made of and what was done to it, as closed, validated records.

A `Recipe` is the whole description of a model: it is stored as JSON in every model file, and
the structure is rebuilt from it and from nothing else. Unknown keys are errors.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from covtool.specs.base_arguments import LARGEST_SIDE, MOST_CHANNELS
from covtool.specs.convolution import ConvolutionSpec
from covtool.specs.record import (
    LARGEST,
    LongName,
    Name,
    PositiveFloat,
    PositiveInt,
    Record,
    Width,
)
from covtool.specs.reid_operations import (
    InstanceBatchNormSpec,
    NeckSpec,
    PatchStrideSpec,
    StemSpec,
)

RECIPE_VERSION = 1

MOST_CLASSES = 10_000_000
"""Outputs of a classifier."""

MOST_OPERATIONS = 64
"""Operations of a recipe; each copies the model."""

SMALLEST_CROP = 0.05
"""Share of the resized image that a center crop keeps at least."""

LARGEST_STATISTIC = 1e6
"""Mean or deviation of a channel, of values in [0, 1]."""

SMALLEST_DEVIATION = 1e-6
"""What values in [0, 1] are divided by."""

Gradient = Literal[
    "exact",
    "svd",
    "truncated",
    "top-n",
    "taylor",
    "pade",
    "power-iteration",
    "newton-schulz",
]
Untrained = Literal["network", "classifier"]
Mean = Annotated[float, Field(ge=-LARGEST_STATISTIC, le=LARGEST_STATISTIC, allow_inf_nan=False)]
Deviation = Annotated[
    float, Field(ge=SMALLEST_DEVIATION, le=LARGEST_STATISTIC, allow_inf_nan=False)
]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
_PerChannel = Field(min_length=1, max_length=MOST_CHANNELS)


class InputSpec(Record):
    """The images a model expects.

    Attributes:
        channels: 3 for RGB, 1 for gray.
        size: (height, width) in pixels.
        mean: Per-channel mean that is subtracted, for values in [0, 1].
        std: Per-channel standard deviation that is divided by.
        interpolation: Resampling filter, in PIL's lower-case words.
        crop_pct: Share of the resized image's short side that the center crop keeps.
        crop_mode: timm's word: center (crop), squash (resize both sides), border (pad).
        exif: Whether images are turned as their EXIF data tell; not for models of old files, which
            were made without.
    """

    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)] = 3
    size: tuple[Side, Side] = (224, 224)
    mean: Annotated[tuple[Mean, ...], _PerChannel] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Deviation, ...], _PerChannel] = (0.229, 0.224, 0.225)
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    crop_pct: Annotated[float, Field(ge=SMALLEST_CROP, le=2)] = 0.875
    crop_mode: Literal["center", "squash", "border"] = "center"
    exif: bool = False


class BaseSpec(Record):
    """The architecture before any operation.

    Attributes:
        library: Who defines it.
        name: Its name there, for example ``resnet50`` (without a timm pretrained tag).
        arguments: Further arguments of the library's constructor. Of a recipe from a file, those in
            `covtool.specs.base_arguments` only.
    """

    library: Literal["timm", "torchvision"]
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class LastStrideSpec(Record):
    """Set the stride of the last downsampling to 1: twice the resolution of the last stage."""

    operation: Literal["last-stride"] = "last-stride"
    stride: Literal[1] = 1


class HeadSpec(Record):
    """Replace the global pooling and the classifier; see `covtool.variants.HEADS`.

    Each head takes some of the options; `covtool.variants.Head.options` says which.
    """

    operation: Literal["head"] = "head"
    head: Name = Field(
        "isqrt", description="Pooling of the new head; covtool list heads shows all."
    )
    dim: Width = Field(
        256, description="Channels after the 1x1 reduction, D; the features are D*(D+1)/2."
    )
    iterations: PositiveInt = Field(5, le=100, description="Newton-Schulz steps (isqrt).")
    pre_norm: Literal["trace", "frobenius"] = Field(
        "trace",
        description="Divisor of the covariance before the iteration (isqrt): its trace or its "
        "Frobenius norm.",
    )
    post_norm: Literal["trace", "frobenius", "batchnorm", "none"] = Field(
        "trace",
        description="Compensation of that divisor after the iteration (isqrt): its root as a "
        "factor, a batch norm, or none.",
    )
    alpha: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Power of the covariance (mpn); 0.5 is the square root."
    )
    gradient: Gradient = Field(
        "exact",
        description="Gradient rule of the eigendecomposition; covtool list gradients shows all.",
    )
    gradient_order: PositiveInt | None = Field(
        None,
        le=1000,
        description="Degree (taylor, pade), count (top-n) or steps (power-iteration, "
        "newton-schulz) of the rule; default: as published.",
    )
    head_dtype: Literal["float32", "float64"] | None = Field(
        None,
        description="Precision in which the head computes; default: float64 for "
        "eigendecompositions.",
    )
    eps: PositiveFloat = Field(
        1e-3, lt=LARGEST, description="Constant that is added to the eigenvalues (logm)."
    )
    degree: PositiveInt | None = Field(
        None,
        le=64,
        description="Degree of the polynomial (mtp: 11) or of numerator and denominator (mpa: 5).",
    )
    sketch_size: PositiveInt = Field(
        8192, le=2**20, description="Number of features of compact bilinear pooling (cbp)."
    )
    thresh: PositiveFloat | None = Field(
        None,
        lt=LARGEST,
        description="Threshold t of the signed root sign(x)·sqrt(|x| + t), published with 1e-8 "
        "(bilinear, cbp); default: x/sqrt(|x| + 1e-10), whose gradient is bounded.",
    )
    vec: Literal["triu", "full"] = Field(
        "triu",
        description="Part of the matrix that becomes the features: the upper triangle, or all of "
        "it.",
    )
    reduction: Literal["conv-bn-relu", "linear", "none"] | None = Field(
        None,
        description="Layer that reduces the channels before the covariance; default: the head's "
        "own, or linear with --calibrate.",
    )
    tap: LongName | None = Field(
        None, description="Module whose output is pooled; default: the last feature map."
    )
    hidden: Literal["drop", "keep"] = Field(
        "drop",
        description="Linear layers between pooling and classifier (VGG, AlexNet): drop them, or "
        "keep them, with a new first one for the longer vector.",
    )
    own_average: bool = Field(
        False, description="Keep the network's own pooling and what follows it (gap)."
    )
    fuse: Literal["gap"] | None = Field(
        None, description="Keep the model's own first-order features beside the new ones."
    )


class EigenlayerSpec(Record):
    """Put a linear layer without bias, SVDNet's Eigenlayer, in front of the classifier.

    Attributes:
        features: Its weight vectors; the length of the embedding.
        init: How it starts: ``keep``, from the classifier's own directions, so that the logits stay
            as far as they can; or ``random``, as published.
    """

    operation: Literal["eigenlayer"] = "eigenlayer"
    features: Width
    init: Literal["keep", "random"] = "keep"


Operation = Annotated[
    LastStrideSpec
    | HeadSpec
    | ConvolutionSpec
    | EigenlayerSpec
    | NeckSpec
    | InstanceBatchNormSpec
    | StemSpec
    | PatchStrideSpec,
    Field(discriminator="operation"),
]


class Metric(Record):
    """A measured figure, with what it was measured on.

    Attributes:
        name: In lower case with underscores, for example ``top_1``; percent where it is a share.
        value: The figure.
        data: The name of the data set's folder or file, and the split.
        images: How many images it was measured on.
    """

    name: LongName
    value: float
    data: str
    images: int


class Provenance(Record):
    """Where a model comes from.

    Attributes:
        source: File name, or the name in its library, of what was read.
        source_sha256: Of that file; None where there was no file.
        covtool_version: The version that wrote this.
        history: One line for each command that made the model, oldest first.
        data: Name of the data set that it was calibrated or trained on.
        metrics: What was measured.
        untrained: Parts whose weights are random still; none in files from before this was noted,
            of which it is not known.
    """

    source: str | None = None
    source_sha256: str | None = None
    covtool_version: str
    history: tuple[str, ...] = ()
    data: str | None = None
    metrics: tuple[Metric, ...] = ()
    untrained: tuple[Untrained, ...] = ()


class Recipe(Record):
    """Everything needed to rebuild a model's structure, and what is known about it.

    Attributes:
        version: Of this schema.
        base: The architecture before any operation.
        operations: What was done to it, in order.
        num_classes: Outputs of the classifier.
        class_names: One per output; None where they are not known.
        input: The images it expects.
        provenance: Where it comes from.
    """

    version: Literal[1] = RECIPE_VERSION
    base: BaseSpec
    operations: Annotated[tuple[Operation, ...], Field(max_length=MOST_OPERATIONS)] = ()
    num_classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    class_names: tuple[LongName, ...] | None = None
    input: InputSpec
    provenance: Provenance
