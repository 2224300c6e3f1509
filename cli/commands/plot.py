"""`covtool plot`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool.specs.plotting import OperatorPlotSpec
from covtool_cli import options, render

if TYPE_CHECKING:
    from covtool.plotting.operators import OperatorPlotResult


@options.takes(operator=OperatorPlotSpec)
def command(
    operator: OperatorPlotSpec,
    what: Annotated[Literal["operator"], typer.Argument(help="What to draw.")] = "operator",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .png, .svg or .pdf.")
    ] = Path("operators.png"),
    config: options.Config = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Draw the functions of decoupled operators into a PNG, SVG or PDF file.

    Example: covtool plot operator --panel h --radius 2 -o magnitudes.svg
    """
    from covtool.plotting.operators import plot_operators

    result = plot_operators(output, operator, overwrite=overwrite)
    if as_json:
        render.json_object(result)
        return
    _show(result)


def _show(result: "OperatorPlotResult") -> None:
    panels = {"h over the norm": result.magnitudes, "g over the angle": result.angular}
    render.pairs(
        f"Drawn: {result.path}",
        [(panel, "; ".join(labels)) for panel, labels in panels.items() if labels],
    )
