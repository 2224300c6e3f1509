"""Changes to the images that a model expects, where its file says nothing, or the wrong thing."""

import re
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.config import JsonDict

from covtool.specs.problems import key_and_reason
from covtool.specs.recipe import SMALLEST_CROP, InputSpec
from covtool.specs.record import Record

PANEL: JsonDict = {"panel": "Images"}

# Nine digits: a longer number is not a size, and takes long to read.
_SIZE = re.compile(r"(?P<height>[1-9]\d{0,8})(?:x(?P<width>[1-9]\d{0,8}))?")


class InputOverrides(Record):
    """Fields of `InputSpec` that replace a model's own; None leaves the model's value.

    The flags have timm's spelling. A mean or a standard deviation is one number for all channels
    or one for each, separated by commas.
    """

    # A configuration in YAML has numbers where the command line has text.
    model_config = ConfigDict(coerce_numbers_to_str=True)

    img_size: str | None = Field(
        None,
        description="Height and width in pixels: 224, or 256x128 where they differ.",
        json_schema_extra=PANEL,
    )
    mean: str | None = Field(
        None,
        description="Mean of the channels, of values in [0, 1]: 0.5 or 0.485,0.456,0.406.",
        json_schema_extra=PANEL,
    )
    std: str | None = Field(
        None,
        description="Standard deviation of the channels: 0.5 or 0.229,0.224,0.225.",
        json_schema_extra=PANEL,
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = Field(
        None, description="Resampling filter.", json_schema_extra=PANEL
    )
    crop_pct: float | None = Field(
        None,
        ge=SMALLEST_CROP,
        le=2,
        description="Share of the resized image's side that the center crop keeps.",
        json_schema_extra=PANEL,
    )
    crop_mode: Literal["center", "squash", "border"] | None = Field(
        None,
        description="Fit to the network's aspect ratio: center crops, squash resizes both sides, "
        "border pads.",
        json_schema_extra=PANEL,
    )
    exif: bool | None = Field(
        None,
        description="Turn images as their EXIF orientation says; default: yes, and for a covtool "
        "file as it was made.",
        json_schema_extra=PANEL,
    )

    @field_validator("img_size")
    @classmethod
    def _is_size(cls, text: str | None) -> str | None:
        if text is not None:
            parse_size(text)
        return text

    @field_validator("mean", "std")
    @classmethod
    def _holds_numbers(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            _require_bounds(**{str(info.field_name): _numbers(text)})
        return text

    def changes(self) -> dict[str, Any]:
        """Return the fields of `InputSpec` to replace, with their values."""
        given = {
            "size": parse_size(self.img_size) if self.img_size else None,
            "mean": _numbers(self.mean) if self.mean else None,
            "std": _numbers(self.std) if self.std else None,
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
            "exif": self.exif,
        }
        return {name: value for name, value in given.items() if value is not None}


def _require_bounds(**fields: Any) -> None:
    """Refuse values beyond the bounds of the fields of `InputSpec` that they replace."""
    try:
        InputSpec(**fields)
    except ValidationError as problem:
        # Without the key, which is that of `InputSpec`: the user gave another name.
        raise ValueError(key_and_reason(problem)[1]) from None


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width in pixels, as a user writes them: 224, or 256x128.

    Raises:
        ValueError: They are no size, or no image may have it.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("it should be a number of pixels, or two, as in 256x128")
    height, width = found.groups()
    size = int(height), int(width or height)
    _require_bounds(size=size)
    return size


def _numbers(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.strip("[]() ").split(","))
    except ValueError:
        raise ValueError(
            "it should be one number, or numbers separated by commas: 0.5,0.5,0.5"
        ) from None
    return values
