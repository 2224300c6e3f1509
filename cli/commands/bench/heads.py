"""`covtool bench heads`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool_cli import first_checks, loading, options, render
from covtool_cli.commands.bench import settings, tables

if TYPE_CHECKING:
    from covtool.benchmarking.heads import HeadBenchmark

COLUMNS = ("head", *tables.COST, "time / gap", "error of the root")
WIDE = ("parameters, 1000 classes", "textbook / time")
"""Columns that --wide adds."""


def command(
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Shape of the feature maps, BxDxHxW; may be repeated."),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(help="Head to measure, as NAME or mpn:RULE; may be repeated. Default: all."),
    ] = None,
    device: options.Device = "auto",
    dtype: settings.Precision = "float32",
    tf32: settings.Tf32 = False,
    repetitions: settings.Repetitions = 15,
    wide: options.Wide = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure time, memory and error of heads, side by side.

    Example: covtool bench heads --shape 16x256x7x7 --head isqrt --head mpn:taylor
    """
    first_checks.require_forms(heads=head or (), maps=shape or ())
    with loading.libraries(as_json=as_json):
        from covtool.benchmarking.heads import SHAPES, benchmark_heads

    chosen = settings.resolved(device, tf32=tf32)

    result = benchmark_heads(
        shape or SHAPES,
        heads=head,
        device=chosen,
        dtype=dtype,
        repetitions=repetitions,
        track=render.track,
    )
    render.json_object(result) if as_json else _show(result, wide=wide)


def _show(result: "HeadBenchmark", *, wide: bool) -> None:
    """Show a table for each shape."""
    columns = (*COLUMNS, *(WIDE if wide else ()))
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                row.head,
                *tables.cost(row.cost),
                f"{row.to_gap:.0f}x",
                # heads without a square root have no error of one
                "" if row.root_error is None else f"{row.root_error:.1e}",
                *((f"{row.parameters:,}", f"{row.to_textbook:.2f}x") if wide else ()),
            )
            for row in result.rows
            if row.shape == shape
        ]
        render.table(f"{shape}, {result.dtype}", columns, rows)
    tables.show_footer(result.machine, result.repetitions)
