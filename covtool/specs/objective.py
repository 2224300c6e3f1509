"""What is minimized, and which images meet in a batch."""

from typing import Literal

from pydantic import Field

from covtool.specs.record import Record

PANEL = {"panel": "Loss and sampling"}


class ObjectiveSpec(Record):
    """The loss, as a sum of named terms, and the order of the training images."""

    loss: str = Field(
        "ce",
        description="ce, bce, triplet, circle, or a sum with weights, like ce+0.5*triplet.",
        json_schema_extra=PANEL,
    )
    triplet_margin: float | None = Field(
        None,
        ge=0,
        description="Of the triplet loss; default: the soft margin.",
        json_schema_extra=PANEL,
    )
    circle_margin: float = Field(
        0.25, gt=0, lt=1, description="Relaxation of the circle loss.", json_schema_extra=PANEL
    )
    circle_scale: float = Field(
        128.0, gt=0, description="Scale of the circle loss.", json_schema_extra=PANEL
    )
    sampler: Literal["random", "balanced", "pk"] = Field(
        "random",
        description="random: every image once per epoch; balanced: every class equally often; "
        "pk: batches of classes with --num-instances images each.",
        json_schema_extra=PANEL,
    )
    num_instances: int = Field(
        4, ge=2, description="pk: images of a class in a batch.", json_schema_extra=PANEL
    )
