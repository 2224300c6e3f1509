"""The contents of plots."""

from typing import Literal

from pydantic import Field
from pydantic.config import JsonDict

from covtool.specs.record import Record

OPERATOR: JsonDict = {"panel": "Functions (plot operator)"}
RUNS: JsonDict = {"panel": "Runs (plot run, plot rri)"}
RUN: JsonDict = {"panel": "Curves (plot run)"}


class OperatorPlotSpec(Record):
    """Which functions of decoupled operators are drawn, and with which parameters."""

    panel: Literal["both", "h", "g"] = Field(
        "both",
        description="h: magnitudes over the norm; g: angular activations over the angle.",
        json_schema_extra=OPERATOR,
    )
    magnitudes: tuple[str, ...] = Field(
        (),
        description="Only this magnitude; may be repeated. Default: all.",
        json_schema_extra={**OPERATOR, "long": "magnitude"},
    )
    angular: tuple[str, ...] = Field(
        (),
        description="Only this angular activation; may be repeated. Default: all.",
        json_schema_extra=OPERATOR,
    )
    radius: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="ρ; norms are drawn up to 3 ρ.",
        json_schema_extra=OPERATOR,
    )
    beta: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="β of segmented and mixed; default: each one's own.",
        json_schema_extra=OPERATOR,
    )
    k: float = Field(
        0.3,
        gt=0,
        allow_inf_nan=False,
        description="Curvature of the sigmoid; smaller is steeper.",
        json_schema_extra=OPERATOR,
    )


class ComparedRunsSpec(Record):
    """Which panels of runs are drawn, and what the runs are called."""

    show: tuple[str, ...] = Field(
        (),
        description="Only this panel; may be repeated. run: loss, metric, correlation, lr, norm; "
        "rri: correlation, eigenvalue, rank-1, map. Default: all that the runs have.",
        json_schema_extra=RUNS,
    )
    labels: tuple[str, ...] = Field(
        (),
        description="Name of a run, in the order of the runs; default: as its folder.",
        json_schema_extra={**RUNS, "long": "label"},
    )


class RunPlotSpec(ComparedRunsSpec):
    """Which curves of runs are drawn, and how."""

    metric: str | None = Field(
        None,
        description="Column of summary.csv; default: the first evaluated one but the loss.",
        json_schema_extra=RUN,
    )
    smooth: int | None = Field(
        None,
        ge=1,
        description="Average curves over so many updates; 1: as they are. Default: a fortieth of "
        "the run.",
        json_schema_extra=RUN,
    )
