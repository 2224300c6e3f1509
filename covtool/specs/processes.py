"""A run on several processes."""

from pydantic import Field

from covtool.specs.record import Record

PANEL = {"panel": "Several processes"}


class ProcessSpec(Record):
    """How the processes of a run work together; under torchrun it says how many there are."""

    nproc: int = Field(
        1,
        ge=1,
        description="Processes on this machine, a device each; the same as torchrun "
        "--nproc-per-node.",
        json_schema_extra=PANEL,
    )
    sync_bn: bool = Field(
        False,
        description="Batch norms use the statistics of all processes' images.",
        json_schema_extra=PANEL,
    )
    dist_timeout: float = Field(
        600.0,
        gt=0,
        description="Seconds that processes wait for each other before the run ends.",
        json_schema_extra=PANEL,
    )
