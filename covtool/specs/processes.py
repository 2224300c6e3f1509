"""Work on several processes."""

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record
from covtool.specs.setting_bounds import LARGEST

PANEL: JsonDict = {"panel": "Several processes"}


class LaunchSpec(Record):
    """How many processes there are; under torchrun, which says it itself, leave it out."""

    nproc: int = Field(
        1,
        ge=1,
        le=LARGEST["nproc"],
        description="Processes on this machine, a device each; the same as torchrun "
        "--nproc-per-node.",
        json_schema_extra=PANEL,
    )
    dist_timeout: float = Field(
        600.0,
        gt=0,
        le=LARGEST["dist_timeout"],
        description="Seconds that processes wait for each other before they give up.",
        json_schema_extra=PANEL,
    )


class ProcessSpec(LaunchSpec):
    """How the processes of a run work together."""

    sync_bn: bool = Field(
        False,
        description="Let batch norms use the statistics of all processes' images.",
        json_schema_extra=PANEL,
    )
