"""Settings of a comparison of heads, and heads as they are written on the command line."""

from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic.config import JsonDict

from covtool.errors import ArgumentError, UnknownVariantError
from covtool.specs.byte_amounts import parse_bytes
from covtool.specs.input_overrides import PANEL, InputOverrides, parse_size
from covtool.specs.operations import HeadSpec
from covtool.specs.problems import parts_of, shown
from covtool.specs.record import Record

COMPARED: JsonDict = {"panel": "What is compared"}
COST: JsonDict = {"panel": "Time and memory"}

ALL = "all"
AUTO = "auto"
DEFAULT_HEADS = ("gap", "isqrt", "mpn", "gaussian")
HEAD_OPTIONS = tuple(
    name
    for name, field in HeadSpec.model_fields.items()
    # A tap is chosen for all heads; layers that are kept for `hidden` would start at random.
    if field.description and name not in ("head", "tap", "own_average", "hidden")
)
"""Fields of `HeadSpec` that an entry of ``--head`` may set."""

Text = Annotated[str, Field(max_length=1000)]


class CompareSpec(Record):
    """What is compared, and within which bounds."""

    head: tuple[Text, ...] = Field(
        DEFAULT_HEADS,
        min_length=1,
        description="Head to compare, with options: isqrt:dim=128,iterations=7; or all. May be "
        "given several times.",
        json_schema_extra=COMPARED,
    )
    tap: tuple[Text, ...] = Field(
        (AUTO,),
        min_length=1,
        description="Module whose output is pooled, as covtool inspect lists them; or auto: the "
        "last map, the one before the last 1x1 convolution and the ends of the last two stages; "
        "or all. May be given several times.",
        json_schema_extra=COMPARED,
    )
    pairs: int = Field(
        0,
        ge=0,
        le=100,
        description="Number of heads over two taps to add: the best pairs, by the sum of their "
        "Gram matrices.",
        json_schema_extra=COMPARED,
    )
    calibrate_images: int | None = Field(
        None,
        ge=3,
        description="Largest number of training images, drawn evenly from the classes; default: "
        "all.",
        json_schema_extra=COST,
    )
    memory: Text = Field(
        "2GiB",
        description="Largest memory of the feature maps: 800MB, 4GiB. More of them go to files.",
        json_schema_extra=COST,
    )
    calibrate_memory: float = Field(
        4.0,
        gt=0,
        description="Largest memory of the solver of a head, in GiB.",
        json_schema_extra=COST,
    )

    @field_validator("memory")
    @classmethod
    def _is_amount(cls, text: str) -> str:
        parse_bytes(text)
        return text

    @property
    def memory_bytes(self) -> int:
        """Bound on the feature maps in memory."""
        return parse_bytes(self.memory)


class ComparedImages(InputOverrides):
    """Changes to the images that the models expect, and several sizes of them."""

    img_size: tuple[Text, ...] = Field(  # type: ignore[assignment]  # one becomes several
        (),
        description="Height and width in pixels: 224, or 256x128 where they differ; default: each "
        "model's own. May be given several times.",
        json_schema_extra=PANEL,
    )

    @field_validator("img_size")
    @classmethod
    def _is_size(cls, texts: tuple[str, ...]) -> tuple[str, ...]:  # type: ignore[override]
        for text in texts:
            parse_size(text)
        return texts

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths, each once."""
        return tuple(dict.fromkeys(map(parse_size, self.img_size)))

    def changes(self) -> dict[str, Any]:
        """Return the other fields of `InputSpec` to replace, with their values."""
        others = self.model_dump(exclude={"img_size"})
        return InputOverrides(**others).changes()


def parse_head(text: str) -> tuple[str, dict[str, str]]:
    """Return name and options of a head as it is written, ``isqrt:dim=128,iterations=7``.

    Raises:
        ArgumentError: An option is no option of a head, has no value, or is there twice.

    Example:
        >>> parse_head("isqrt:dim=128,pre-norm=frobenius")
        ('isqrt', {'dim': '128', 'pre_norm': 'frobenius'})
    """
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in rest.split(",") if rest else ():
        key, is_set, value = part.partition("=")
        field = key.strip().replace("-", "_")
        if not is_set or not value.strip():
            raise ArgumentError(
                f"--head {shown(text)} is not valid: {shown(part)} has no value.",
                hint="Write --head NAME:OPTION=VALUE,OPTION=VALUE, as in isqrt:dim=128.",
            )
        if field not in HEAD_OPTIONS:
            known = tuple(option.replace("_", "-") for option in HEAD_OPTIONS)
            raise UnknownVariantError("option of a head", key.strip(), known)
        if field in options:
            raise ArgumentError(f"--head {shown(text)} is not valid: it sets {key} twice.")
        options[field] = value.strip()
    return name.strip(), options


def head_of(name: str, options: dict[str, str]) -> HeadSpec:
    """Return the head of a name with options as they are written.

    Raises:
        ArgumentError: An option cannot have such a value.
    """
    try:
        return HeadSpec.model_validate({"head": name, **options})
    except ValidationError as problem:
        first = problem.errors()[0]
        key = str(first["loc"][0]).replace("_", "-")
        raise ArgumentError(
            f"--head {name}: {key}={shown(first['input'])} is not valid: {parts_of(problem)[1]}."
        ) from problem
