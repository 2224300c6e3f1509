"""Tolerance of a run for faults: how often it is saved, and which faults it survives."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

PANEL: JsonDict = {"panel": "Faults"}


class FaultSpec(Record):
    """How often a run is saved, and what it survives."""

    save_every_steps: int = Field(
        0,
        ge=0,
        description="Updates between two saves of the state within an epoch; 0: after each epoch "
        "only.",
        json_schema_extra=PANEL,
    )
    save_retries: int = Field(
        3,
        ge=0,
        description="Saves in a row that may fail (disk full, read-only) before the run ends.",
        json_schema_extra=PANEL,
    )
    # `stop` by default: a run that skips updates silently hides what is wrong with it.
    on_nonfinite: Literal["stop", "skip", "restore"] = Field(
        "stop",
        description="Reaction to a loss or gradient that is not finite: stop with a dump, skip the "
        "update, or restore the last saved state and pass over the batch.",
        json_schema_extra=PANEL,
    )
    nonfinite_limit: int = Field(
        10,
        ge=1,
        description="Largest number of updates to skip or restore before the run ends.",
        json_schema_extra=PANEL,
    )
    # Off by default: it changes the batches that batch norms see.
    auto_batch: bool = Field(
        False,
        description="Halve the batches and accumulate their gradients when memory runs out.",
        json_schema_extra=PANEL,
    )
