"""How a model's outputs become probabilities, as a recipe keeps it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from covtool.specs.provenance import Count, Text
from covtool.specs.record import Record

Temperature = Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)]
MOST_NEIGHBORS = 1_000
"""Nearest embeddings whose distance is averaged."""
NEAREST = 5
"""Number of them by default: of one, an odd image decides; more than a class has, others'."""


class NeighborSpec(Record):
    """Embeddings of training images that a file keeps, to tell images of other classes by.

    Attributes:
        layer: Module whose input the embeddings are.
        nearest: Number of nearest embeddings whose distance counts.
        data: Name of the data set that they are from.
        images: Number of the embeddings.
    """

    layer: Annotated[str, Field(max_length=1000)]
    nearest: Annotated[int, Field(ge=1, le=MOST_NEIGHBORS)]
    data: Text
    images: Count


class ScoreSpec(Record):
    """The temperature of predictions, chosen on images that the weights have not seen.

    It is apart from the scale that training starts from: the weights stay what they are, and a
    prediction divides their logits.

    Attributes:
        temperature: Number that logits are divided by before they become probabilities.
        method: How the images were held out.
        data: Name of the data set, and the split.
        images: Number of images that it was chosen on.
        is_bounded: Whether the images, next to none of them wrong, would have it lower, and are too
            few for that.
    """

    temperature: Temperature = 1.0
    method: Literal["leave-one-out", "validation"]
    data: Text
    images: Count
    is_bounded: bool = False


def without_unset(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a record's values without those of `names` that are None."""
    return {name: value for name, value in values.items() if name not in names or value is not None}
