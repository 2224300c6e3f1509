"""The split of a data set's classes into those to train and those to search for."""

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

PANEL: JsonDict = {"panel": "Data for retrieval"}


class ClassSplitSpec(Record):
    """Choices that a data set leaves. Training and evaluation must make the same ones."""

    test_classes: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the classes, the last in sorted order, to search in and not to "
        "train; for data without a split.",
        json_schema_extra=PANEL,
    )
