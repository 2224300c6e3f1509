"""The recipe of a model: its architecture, operations, images and provenance.

A `Recipe` is the whole description of a model: it is stored as JSON in every model file, and
the structure is rebuilt from it and from nothing else. Unknown keys are errors.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from covtool.specs.base_arguments import LARGEST_SIDE, MOST_CHANNELS
from covtool.specs.operations import MOST_OPERATIONS, Operation
from covtool.specs.provenance import Provenance
from covtool.specs.record import LongName, Record
from covtool.specs.scores import NeighborSpec, ScoreSpec, without_unset

RECIPE_VERSION: Final = 2
"""1 had the history as lines of prose; `covtool.specs.first_version` still reads it."""

MOST_CLASSES = 10_000_000
"""Outputs of a classifier."""

SMALLEST_CROP = 0.05
"""Share of the resized image that a center crop keeps at least."""

LARGEST_STATISTIC = 1e6
"""Mean or deviation of a channel, of values in [0, 1]."""

SMALLEST_DEVIATION = 1e-6
"""What values in [0, 1] are divided by."""

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
        library: Library that defines it.
        name: Its name there, for example ``resnet50`` (without a timm pretrained tag).
        arguments: Further arguments of the library's constructor. Of a recipe from a file, those in
            `covtool.specs.base_arguments` only.
    """

    library: Literal["timm", "torchvision"]
    name: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Recipe(Record):
    """Everything needed to rebuild a model's structure, and what is known about it.

    Attributes:
        version: Number of this schema; older ones become it when they are read.
        base: The architecture before any operation.
        operations: Operations on it, in order.
        num_classes: Outputs of the classifier.
        class_names: One per output; None where they are not known.
        input: The images it expects.
        provenance: Source of the model, and the steps that made it.
        scores: How its outputs become probabilities; None where nothing was chosen.
        neighbors: Training embeddings in the file; None without any.
    """

    version: Literal[2] = RECIPE_VERSION
    base: BaseSpec
    operations: Annotated[tuple[Operation, ...], Field(max_length=MOST_OPERATIONS)] = ()
    num_classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]
    # No bound of its own: `num_classes` has one, and the two must agree.
    class_names: tuple[LongName, ...] | None = None
    input: InputSpec
    provenance: Provenance
    scores: ScoreSpec | None = None
    neighbors: NeighborSpec | None = None

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Files without them stay byte for byte what they were.
        return without_unset(dump(self), "scores", "neighbors")
