"""`covtool plot`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.atomic import require_figure_name
from covtool.errors import ArgumentError
from covtool.specs import Record, as_flag
from covtool.specs.plotting import ComparedRunsSpec, OperatorPlotSpec, RunPlotSpec
from covtool_cli import half_step_tables, options, render

if TYPE_CHECKING:
    from covtool.plotting.operators import OperatorPlotResult
    from covtool.plotting.rri import HalfStepPlotResult
    from covtool.plotting.runs import RunPlotResult

SPECS: dict[str, type[Record]] = {
    "operator": OperatorPlotSpec,
    "run": RunPlotSpec,
    "rri": ComparedRunsSpec,
}
OUTPUT = {"operator": Path("operators.png"), "run": Path("run.png"), "rri": Path("rri.png")}


@options.takes(operator=OperatorPlotSpec, run=RunPlotSpec)  # a run's has those of rri in it
def command(
    ctx: typer.Context,
    operator: OperatorPlotSpec,
    run: RunPlotSpec,
    what: Annotated[
        Literal["operator", "run", "rri"], typer.Argument(help="Figure to draw.")
    ] = "operator",
    directories: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Folders of runs (run, rri).")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            callback=options.named_by(require_figure_name),
            help="File to write: .png, .svg or .pdf; default: operators.png, run.png or rri.png.",
        ),
    ] = None,
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Draw decoupled operators, or curves of training runs, into a PNG, SVG or PDF file.

    run: loss, metric, learning rate and gradient over the epochs.

    rri: S(W) and retrieval over SVDNet's restraint and relaxation iterations.

    Example: covtool plot operator --panel h --radius 2 -o magnitudes.svg

    Example: covtool plot run runs/finetune/resnet50-isqrt -o curves.svg

    Example: covtool plot rri runs/svdnet-rri/resnet50 -o rri.svg
    """
    _refuse_untaken(ctx, what, directories or [])
    path = output or OUTPUT[what]
    if what == "operator":
        from covtool.plotting.operators import plot_operators

        result, show = plot_operators(path, operator, overwrite=overwrite), _show_operators
    elif what == "run":
        from covtool.plotting.runs import plot_runs

        result, show = plot_runs(directories or [], path, run, overwrite=overwrite), _show_runs
    else:
        from covtool.plotting.rri import plot_half_steps

        result = plot_half_steps(directories or [], path, run, overwrite=overwrite)
        show = _show_half_steps
    if as_json:
        render.json_object(result)
    else:
        show(result)


def _refuse_untaken(ctx: typer.Context, what: str, directories: list[Path]) -> None:
    if directories and what == "operator":
        raise ArgumentError(f"covtool plot {what} takes no {directories[0]}.")
    fields = {name: field for spec in SPECS.values() for name, field in spec.model_fields.items()}
    for name, field in fields.items():
        if name not in SPECS[what].model_fields and options.is_given(ctx, name):
            flag = as_flag((field.json_schema_extra or {}).get("long", name))
            others = [other for other, spec in SPECS.items() if name in spec.model_fields]
            raise ArgumentError(
                f"covtool plot {what} takes no {flag}.",
                hint=f"It belongs to covtool plot {' and '.join(others)}.",
            )


def _show_operators(result: "OperatorPlotResult") -> None:
    panels = {"h over the norm": result.magnitudes, "g over the angle": result.angular}
    render.pairs(
        f"Drawn: {result.path}",
        [(panel, "; ".join(labels)) for panel, labels in panels.items() if labels],
    )


def _show_runs(result: "RunPlotResult") -> None:
    for note in result.notes:
        render.note(f"note: {note}")
    render.table(
        f"Drawn: {result.path} ({', '.join(result.panels)})",
        ("run", "updates", "epochs", result.runs[0].metric or "metric"),
        [(run.label, run.updates, run.epochs, run.last) for run in result.runs],
    )


def _show_half_steps(result: "HalfStepPlotResult") -> None:
    render.line(f"Drawn: {result.path} ({', '.join(result.panels)})")
    for run in result.runs:
        half_step_tables.show(run.label, run.half_steps)
