"""Settings of an audit of a data set."""

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

LOOKED: JsonDict = {"panel": "What is looked for"}


class AuditSpec(Record):
    """How closely a data set is looked at."""

    quick: bool = Field(
        False,
        description="Read headers and compare files only; no pixel is decoded.",
        json_schema_extra=LOOKED,
    )
    near: bool = Field(
        True,
        description="Look for pictures that look alike: by perceptual hash, and with --model by "
        "embedding.",
        json_schema_extra=LOOKED,
    )
    near_bits: int = Field(
        8,
        ge=0,
        le=16,
        description="Bits of 64 that the hashes of such pictures may differ in.",
        json_schema_extra=LOOKED,
    )
    near_similarity: float = Field(
        0.95,
        gt=0,
        le=1,
        description="Least cosine similarity of the embeddings of such pictures.",
        json_schema_extra=LOOKED,
    )
    suspect_margin: float = Field(
        0.3,
        ge=0,
        lt=2,
        description="How much more an image must look like another class than like its own for "
        "its label to be in doubt.",
        json_schema_extra=LOOKED,
    )
