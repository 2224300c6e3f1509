"""The operation of a recipe that replaces convolutions."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from covtool.specs.record import LARGEST, LongName, Name, PositiveFloat, Record

PANEL: JsonDict = {"panel": "Convolutions (with --conv)"}
RECORDED: JsonDict = {"flag": False}
# Each pattern is matched with each layer.
MOST_PATTERNS = 1000
MOST_LAYERS = 100_000

Per = Literal["layer", "filter"]


class ConvolutionSpec(Record):
    """Convolutions become other operators that keep the weights; see `variants.CONVOLUTIONS`.

    The defaults are the paper's: filters of norm 1, α = 1, and a radius of 1 in units of the
    running mean of ‖x‖; `--calibrate` takes radius and α from images, which needs no unit.

    Attributes:
        layers: The convolutions that were chosen, by path; None where that is yet to be done.
        calibrated: Whether α and ρ were set from images.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    operation: Literal["conv"] = "conv"
    conv: Name = Field(
        "tanh",
        description="Magnitude h of the operators that replace convolutions, or "
        "weight-standardized; covtool list convs shows all.",
        json_schema_extra={**PANEL, "default": "convolutions stay as they are"},
    )
    angular: Name = Field(
        "cosine",
        description="Angular activation g: linear, cosine, sigmoid, square-cosine.",
        json_schema_extra=PANEL,
    )
    weighting: Name = Field(
        "none",
        description="Weight of a filter's norm: none, linear, tanh.",
        json_schema_extra=PANEL,
    )
    scale: PositiveFloat = Field(
        1.0, lt=LARGEST, description="Scale α, a factor of h.", json_schema_extra=PANEL
    )
    scale_per: Per | None = Field(
        None,
        description="One α for a layer, or one for each filter; default: layer, or filter with "
        "--calibrate.",
        json_schema_extra=PANEL,
    )
    radius: PositiveFloat = Field(
        1.0,
        lt=LARGEST,
        description="Radius ρ, where it is not calibrated.",
        json_schema_extra=PANEL,
    )
    radius_per: Per = Field(
        "layer", description="One ρ for a layer, or one for each filter.", json_schema_extra=PANEL
    )
    learn_radius: bool = Field(
        False, description="Train ρ; it stays positive.", json_schema_extra=PANEL
    )
    beta: float | None = Field(
        None,
        ge=0,
        lt=LARGEST,
        description="β in units of α (segmented: slope beyond ρ, 0.5; mixed: share of the "
        "logarithm, 1).",
        json_schema_extra=PANEL,
    )
    k: PositiveFloat = Field(
        0.3,
        lt=LARGEST,
        description="Curvature of the sigmoid; smaller is steeper.",
        json_schema_extra=PANEL,
    )
    # A running mean needs no images; calibration has set ρ from them already.
    unit: Literal["none", "running-mean"] | None = Field(
        None,
        description="Unit of ρ: none, or the running mean of ‖x‖; default: running-mean, or none "
        "with --calibrate.",
        json_schema_extra=PANEL,
    )
    weighted_gradients: bool = Field(
        False,
        description="Multiply the gradient of each filter by its norm (with --weighting none).",
        json_schema_extra=PANEL,
    )
    weight_projection: int = Field(
        0,
        ge=0,
        description="Updates after which training brings the filters back to --projection-norm; "
        "0: never.",
        json_schema_extra=PANEL,
    )
    projection_norm: PositiveFloat = Field(
        1.0, lt=LARGEST, description="Norm that filters are projected to.", json_schema_extra=PANEL
    )
    orthogonality: float = Field(
        0.0,
        ge=0,
        lt=LARGEST,
        description="Weight of the orthogonality penalty in the training loss; the authors use "
        "1e-5.",
        json_schema_extra=PANEL,
    )
    target: tuple[LongName, ...] = Field(
        (),
        max_length=MOST_PATTERNS,
        description="Convolutions to replace: all, spatial, pointwise, depthwise, or a name with "
        "wildcards; may be repeated. Default: all but the stem and the downsampling shortcuts.",
        json_schema_extra=PANEL,
    )
    exclude: tuple[LongName, ...] = Field(
        (),
        max_length=MOST_PATTERNS,
        description="Convolutions to leave as they are, named as for --target; may be repeated.",
        json_schema_extra=PANEL,
    )
    layers: tuple[LongName, ...] | None = Field(
        None, max_length=MOST_LAYERS, json_schema_extra=RECORDED
    )
    calibrated: bool = Field(False, json_schema_extra=RECORDED)

    @property
    def is_convolution(self) -> bool:
        """Whether the operator is the convolution itself."""
        parts = self.conv, self.angular, self.weighting
        # ‖x‖ cos θ ‖w‖ is w · x: nothing has changed, and statistics fit as they are.
        return parts == ("linear", "cosine", "linear") and self.scale == 1
