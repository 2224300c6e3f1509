"""The choices that the layout of a data set leaves."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record, as_flag

PANEL: JsonDict = {"panel": "Layout of the data"}


class LayoutSpec(Record):
    """Choices that a data set leaves. Training and evaluation must make the same ones."""

    labels: str | None = Field(
        None,
        description="Labels to use, where a published data set has several, like family or "
        "manufacturer; see covtool list data.",
        json_schema_extra=PANEL,
    )
    data_split: int | None = Field(
        None,
        ge=1,
        description="Number of the split, where a published data set has several: 1 to 10 of DTD "
        "and SUN397.",
        json_schema_extra=PANEL,
    )
    crop: Literal["boxes"] | None = Field(
        None,
        description="Part of the images to use: boxes is what lies inside the published bounding "
        "boxes.",
        json_schema_extra=PANEL,
    )
    class_folders: Literal["outer", "inner"] | None = Field(
        None,
        description="Folders that are the classes, where folders lie in folders: the outer ones, "
        "or the inner ones, which hold the images.",
        json_schema_extra=PANEL,
    )

    def given(self) -> dict[str, object]:
        """Return the fields that say something."""
        # None says nothing: the data set's own default holds.
        return self.model_dump(exclude_none=True)

    def in_words(self) -> str:
        """Return what is chosen, as it was asked for; empty for nothing.

        Example:
            >>> LayoutSpec(crop="boxes", data_split=2).in_words()
            ' (--data-split 2, --crop boxes)'
        """
        choices = ", ".join(f"{as_flag(name)} {value}" for name, value in self.given().items())
        return f" ({choices})" if choices else ""
