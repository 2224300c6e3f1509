"""The choices that the layout of a data set leaves."""

from typing import Literal

from pydantic import Field

from covtool.specs.record import Record, as_flag

PANEL = {"panel": "Layout of the data"}


class LayoutSpec(Record):
    """What a data set does not say itself. Training and evaluation must be told the same."""

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
        return self.model_dump(exclude_none=True)

    def in_words(self) -> str:
        """Return what is chosen, as it was asked for; empty for nothing.

        Example:
            >>> LayoutSpec(crop="boxes", data_split=2).in_words()
            ' (--data-split 2, --crop boxes)'
        """
        said = ", ".join(f"{as_flag(name)} {value}" for name, value in self.given().items())
        return f" ({said})" if said else ""
