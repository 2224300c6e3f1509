"""Which classes of a data set are trained, and which are left for a search."""

from pydantic import Field

from covtool.specs.record import Record

PANEL = {"panel": "Data for retrieval"}


class ClassSplitSpec(Record):
    """What a data set does not say itself. Training and evaluation must be told the same."""

    test_classes: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the classes, the last in sorted order, to search in and not to "
        "train; for data without a split.",
        json_schema_extra=PANEL,
    )
