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
        description="Panel to draw: h, magnitudes over the norm, or g, angular activations over "
        "the angle.",
        json_schema_extra=OPERATOR,
    )
    magnitudes: tuple[str, ...] = Field(
        (),
        description="Magnitude to draw; may be repeated. Default: all.",
        json_schema_extra={**OPERATOR, "long": "magnitude"},
    )
    angular: tuple[str, ...] = Field(
        (),
        description="Angular activation to draw; may be repeated. Default: all.",
        json_schema_extra=OPERATOR,
    )
    radius: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="Radius ρ; norms are drawn up to 3 ρ.",
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
        description="Panel to draw; may be repeated. run: loss, metric, correlation, lr, norm; "
        "rri: correlation, eigenvalue, rank-1, map. Default: all that the runs have.",
        json_schema_extra=RUNS,
    )
    labels: tuple[str, ...] = Field(
        (),
        description="Name of a run in the figure, in the order of the runs; default: its folder's.",
        json_schema_extra={**RUNS, "long": "label"},
    )


class RunPlotSpec(ComparedRunsSpec):
    """Which curves of runs are drawn, and how."""

    metric: str | None = Field(
        None,
        description="Column of summary.csv to draw; default: the first evaluated one but the loss.",
        json_schema_extra=RUN,
    )
    smooth: int | None = Field(
        None,
        ge=1,
        description="Updates to average curves over; 1: none. Default: a fortieth of the run.",
        json_schema_extra=RUN,
    )
