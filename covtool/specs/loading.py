"""Where training images come from: their files, or a cache of decoded ones."""

from typing import Literal

from pydantic import Field

from covtool.specs.record import Record

PANEL = {"panel": "Input"}


class LoadingSpec(Record):
    """The input path of a run."""

    cache: Literal["off", "ram", "disk", "device"] = Field(
        "off",
        description="Decode every image once to uint8, and vary it from there: ram, one "
        "memory-mapped file on disk, or the memory of the device.",
        json_schema_extra=PANEL,
    )
    cache_memory: str = Field(
        "4GB", description="What the cache may take, at most.", json_schema_extra=PANEL
    )
    cache_dir: str | None = Field(
        None,
        description="disk: folder of the cache file; default: covtool's folder in the user's "
        "cache.",
        json_schema_extra=PANEL,
    )
