"""The operations of a recipe: what can be done to an architecture, with all parameters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

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

MOST_OPERATIONS = 64
"""Operations of a recipe; each copies the model."""

MOST_TAPS = 16
"""Feature maps that one head pools."""


def _one_or_several(value: Any) -> Any:
    """Return the only name of a list of one, and None for an empty list."""
    if value is None or isinstance(value, str):
        return value
    names = tuple(value) if isinstance(value, list | tuple) else (value,)
    # Said here: of a union, the words for one of its types would be shown.
    if len(names) > MOST_TAPS or not all(isinstance(name, str) for name in names):
        raise ValueError(f"It should be the name of a module, or a list of {MOST_TAPS} at most")
    # Files with one tap have its bare name, and a flag that may be repeated comes as a list.
    return names if len(names) > 1 else next(iter(names), None)


Taps = Annotated[LongName | tuple[LongName, ...] | None, BeforeValidator(_one_or_several)]
"""The only name, or all names where there are several; None for the default."""

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
    tap: Taps = Field(
        None,
        description="Module whose output is pooled; default: the last feature map. Given several "
        "times, each map has its own reduction and pooling, and the vectors are joined.",
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

    @property
    def taps(self) -> tuple[str, ...]:
        """The names in `tap`, in the order of their features; none for the default."""
        if self.tap is None:
            return ()
        return (self.tap,) if isinstance(self.tap, str) else self.tap


class EigenlayerSpec(Record):
    """Put a linear layer without bias, SVDNet's Eigenlayer, in front of the classifier.

    Attributes:
        features: Its weight vectors; the length of the embedding.
        init: Start of its weights: ``keep``, the classifier's own directions, so that the logits
            stay as far as they can; or ``random``, as published.
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


def stem_of_operations(operations: Iterable[Operation]) -> str:
    """Return the part of a file name that names operations, in the order of `STEMS`.

    Example:
        >>> stem_of_operations([HeadSpec(head="isqrt"), ConvolutionSpec(conv="tanh")])
        'tanh-isqrt'
    """
    named = sorted(
        (operation for operation in operations if operation.operation in STEMS),
        key=lambda operation: tuple(STEMS).index(operation.operation),
    )
    return "-".join(STEMS[o.operation](o) for o in named) or "converted"


STEMS: Mapping[str, Callable[[Any], str]] = {
    "conv": lambda spec: spec.conv,
    "head": lambda spec: spec.head,
    "eigenlayer": lambda spec: f"eigen{spec.features}",
}
"""What an operation adds to an output's file name, for those that add anything."""


def operation_name(operation: Operation) -> str:
    """Return an operation with what it builds: ``head isqrt``, ``conv tanh``, ``last-stride``."""
    variant = getattr(operation, "head", None) or getattr(operation, "conv", None)
    return f"{operation.operation} {variant}" if variant else operation.operation
