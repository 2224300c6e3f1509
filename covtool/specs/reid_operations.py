"""Operations of a recipe that re-identification networks are built with."""

from typing import Annotated, Literal

from pydantic import Field

from covtool.specs.base_arguments import LARGEST_SIDE
from covtool.specs.record import LongName, Record, Width

NeckLayer = Literal["linear", "linear-without-bias", "batchnorm", "relu"]


class NeckSpec(Record):
    """Put layers between the pooling and the classifier; what they give describes an image.

    Attributes:
        layers: Kinds of the layers, in order; ``("batchnorm",)`` is the BNNeck, none leaves the
            pooled features as they are.
        features: Outputs of the linear layer; None where there is none.
        classifier_bias: Whether the classifier behind the neck has a bias.
    """

    operation: Literal["neck"] = "neck"
    layers: Annotated[tuple[NeckLayer, ...], Field(max_length=16)] = ("batchnorm",)
    features: Width | None = None
    classifier_bias: bool = False


class InstanceBatchNormSpec(Record):
    """Make the first half of some batch norms' channels an instance norm, as IBN-Net (a) does.

    Attributes:
        layers: Paths of the batch norms; None for the first one of each block of a ResNet's stages
            1 to 3, as published.
    """

    operation: Literal["ibn"] = "ibn"
    layers: Annotated[tuple[LongName, ...], Field(max_length=10_000)] | None = None


class StemSpec(Record):
    """Change what a ResNet does between its first batch norm and its first stage.

    Attributes:
        activation: ``none`` leaves the ReLU out.
        max_pooling: ``unpadded`` lets the windows begin at the first row and column, and adds none
            in front of them.
    """

    operation: Literal["stem"] = "stem"
    activation: Literal["keep", "none"] = "keep"
    max_pooling: Literal["keep", "unpadded"] = "keep"


class PatchStrideSpec(Record):
    """Let the patches of a vision transformer overlap, or lie apart.

    Attributes:
        stride: Pixels from patch to patch.
    """

    operation: Literal["patch-stride"] = "patch-stride"
    stride: Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
