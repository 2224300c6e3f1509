"""The source of training images: their files, or a cache of decoded ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic.config import JsonDict

from covtool.specs.byte_amounts import parse_bytes
from covtool.specs.record import CheckedRecord, Contradiction, as_flag
from covtool.user_cache import user_cache

PANEL: JsonDict = {"panel": "Input"}
CACHE_MEMORY = "4GB"


class LoadingSpec(CheckedRecord):
    """The input path of a run."""

    cache: Literal["off", "ram", "disk", "device"] = Field(
        "off",
        description="Cache of the decoded training images, as uint8: in ram, in one memory-mapped "
        "file on disk, or in the memory of the device.",
        json_schema_extra=PANEL,
    )
    # Text with a unit, so that args.yaml reads as what was typed; checked here, counted below.
    cache_memory: str | None = Field(
        None,
        description="Largest size of the cache: 800MB, 4GB, 16GiB.",
        json_schema_extra={**PANEL, "default": CACHE_MEMORY},
    )
    cache_side: int | None = Field(
        None,
        ge=1,
        description="Largest short side of the cached training images, in pixels; default: such "
        "that the smallest random crop has as many pixels as the network's images.",
        json_schema_extra=PANEL,
    )
    cache_dir: str | None = Field(
        None,
        description="Folder of the cache files (disk); default: covtool's in the user's cache.",
        json_schema_extra=PANEL,
    )
    exact_decode: bool = Field(
        False,
        description="Decode JPEG images to train on at full size, not at the smallest scale that "
        "a random crop allows.",
        json_schema_extra=PANEL,
    )

    @property
    def memory_bytes(self) -> int:
        """Bytes that the cache may take, with the default."""
        return parse_bytes(self.cache_memory or CACHE_MEMORY)

    @property
    def folder(self) -> Path:
        """Folder of the cache files, with its default."""
        if self.cache_dir is not None:
            try:
                return Path(self.cache_dir).expanduser()
            # `~name`: the folder is then looked for as it is written.
            except RuntimeError:  # no user has that name
                return Path(self.cache_dir)
        return user_cache() / "images"

    @field_validator("cache_memory")
    @classmethod
    def _is_an_amount(cls, text: str | None) -> str | None:
        if text is not None:
            parse_bytes(text)
        return text

    def contradictions(self) -> Iterator[Contradiction]:
        """Yield settings without effect: of a cache that is not there, of decoding beside one."""
        for name in ("cache_memory", "cache_side"):
            yield (
                self.cache == "off" and getattr(self, name) is not None,
                f"{as_flag(name)} has no effect without --cache.",
                "Add --cache ram, or leave it out.",
            )
        yield (
            self.cache != "disk" and self.cache_dir is not None,
            f"--cache-dir has no effect with --cache {self.cache}.",
            "Add --cache disk, or leave it out.",
        )
        yield (
            self.cache != "off" and self.exact_decode,
            f"--exact-decode has no effect with --cache {self.cache}, which decodes at full size.",
            "Leave one of them out.",
        )
